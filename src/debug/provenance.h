/*
 * Who wrote the fields of VMCSs that are not current. A vCPU notes writers only while a VMCS is current; hypervisors
 * change the current VMCS all the time, and explanations shall not forget because of that.
 */
#pragma once

#include "vmx/vmcs.h"

struct provenance;

struct provenance *provenance_create(void);
void provenance_destroy(struct provenance *provenance);

/* The VMCS at this address is not current any more. Of many VMCSs, those that left last are remembered. */
void provenance_keep(struct provenance *provenance, pa_t vmcs, const struct vmcs *v);

/* Who wrote a field of it last, of the times before it became current now. False: nobody is known. */
bool provenance_find(const struct provenance *provenance, pa_t vmcs, enum vmcs_field field, struct vmcs_writer *writer);

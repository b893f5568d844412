/*
 * Numbers of MSRs, from spec/msrs.def: SDM vol. 4, "Architectural MSRs". Those that report VMX capabilities are in
 * spec/vmx_controls.def.
 */
#ifndef VMM_CPU_MSRS_H
#define VMM_CPU_MSRS_H

enum {
#define STORED(index, name, feature, member, bits, check) IA32_##name = index,
#define FIXED(index, name, feature, value) IA32_##name = index,
#define ACTIVE(first, last, name, feature, accessor) IA32_##name = first,
#define OTHER(index, name) IA32_##name = index,
#include "msrs.def"
};

#endif

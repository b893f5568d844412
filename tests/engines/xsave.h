/*
 * The XSAVE family, which needs images in memory that fit it and whose layout is the processor's own.
 */
#pragma once

#include "forms.h"
#include "state.h"

enum xsave_result { XSAVE_RAN, XSAVE_FAULTED };

/* One random case; false, after saying so, when host and engine differ. */
bool xsave_compare(struct engine *engine, struct random *random, enum xsave_result *result);

/* Copies of this process that no hook has seen being made: process_is_copied of base/process.h. */
#pragma once

#include "base/common.h"

bool copies_init(void);       /* false without memory */
void copies_begin_anew(void); /* in a child: it is no copy of its own */

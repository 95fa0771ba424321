/* What a fork changes: two processes have every connection from then on. */
#pragma once

#include "base/common.h"

bool fork_init(void);  /* the handlers of the C library's fork */
void fork_adopt(void); /* this process is a child of such a call */

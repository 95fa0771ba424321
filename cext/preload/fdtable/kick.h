/* Wakes every thread of this process that sleeps for connections: something has happened that rings no doorbell. */
#pragma once

#include "base/common.h"

int kick_descriptor(void); /* an eventfd to be watched edge-triggered, and never read; -1 when none can be had */
void kick_all(void);       /* also those of processes that share it after a fork */

/* Whether the library has been started in this process, which a hook asks first. Its functions are in lifecycle/. */
#pragma once

#include "base/common.h"

/* A page that a fork wipes (MADV_WIPEONFORK), whoever makes the fork: the C library, or a system call that no handler
 * hears of. It reads 1 once the library is ready in this process, and 0 before the start and in a child that has not
 * been adopted. A child of vfork shares its parent's memory, and so the 1. */
extern _Atomic unsigned char *process_page;

/* The process whose descriptors the tables describe. */
extern pid_t process_id;

/* The layer above all others, which the hooks call without knowing it: lifecycle/start.c and fork.c. */
void lifecycle_enter(void); /* starts the library, or adopts a child that a raw clone made */
/* another process may have our descriptors soon, by a call that runs no handlers */
void lifecycle_fork_is_near(void);

/* hooks/stdio.c: its lock, held over a fork; who forks has it, so both processes let go of it. */
void stdio_before_fork(void);
void stdio_after_fork(void);

#define READY() \
    do { \
        if (UNLIKELY(process_page == NULL || atomic_load_explicit(process_page, memory_order_relaxed) == 0)) \
            lifecycle_enter(); \
    } while (0)

/* A copy of this process lives that no hook has seen being made: it has our descriptors as well. lifecycle/copies.c. */
bool process_is_copied(void);

/* A child of vfork: our memory is its parent's, so it must change no table. Costs a system call. */
bool process_is_borrowed(void);

/* The program's limit of descriptors, and the one that the kernel has.
 *
 * The library needs descriptors beside each of the program's connections, and a program may use its limit to the last.
 * So where the hard limit allows it, the kernel gets a higher soft one at the first use, the library's descriptors lie
 * above the program's, and the program sees and meets the limit that it has set. A new program image gets that too. */
#pragma once

#include <sys/resource.h>

#include "base/common.h"

#define LIMIT_FEW 16 /* who allows itself fewer gives up its means: see hooks/attributes.c */

/* Where the library's descriptors may be. */
struct limit_place {
    bool above; /* no number of the program's is there; else it is half of these */
    int first, count;
};
struct limit_place limit_place(void); /* raises the limit, the first time */

bool limit_is_reached(int fd);       /* the program could not have this number */
bool limit_forbids_one_more(int fd); /* the next number would be such; fd: any that is open */

/* prlimit for RLIMIT_NOFILE of this process, as the program sees it; set and old may be NULL. 0, or -1 and errno. */
int limit_change(const struct rlimit *set, struct rlimit *old);

void limit_before_exec(void); /* in a process that is about to become another program, or to spawn one */
void limit_after_exec(void);  /* that did not come about, or is over */

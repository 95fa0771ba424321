/* What is known of a number that means nothing else to the library: a byte for each, without a lock. */
#pragma once

#include "base/common.h"
#include "fdtable/entry.h"

enum number_mark {
    MARK_PLAIN = 1,   /* must stay with TCP: its program has set what can't be carried otherwise */
    MARK_SETTLED = 2, /* connected by TCP for good: epolls need not follow what becomes of it */
    MARK_WATCHED = 4, /* an epoll has its socket, without a record: so it can't become direct any more */
    MARK_COPIED = 8,  /* another number may mean the same socket, which would not know of a connection */
};

/* The upper bits count the forks of this process before socket() made it, from 1: another process has older ones as well.
 * 0: it came otherwise. */
#define MARK_FORKS 0xf0u

extern _Atomic unsigned char *mark_table; /* MAX_FD of them, most of them never touched */

bool marks_init(void);
void mark_set(int fd, enum number_mark mark); /* besides what it has */
void mark_born(int fd);                       /* a new socket */
bool mark_is_older_than_fork(int fd);
void marks_after_fork(void);
void mark_clear(int fd); /* a new descriptor has the number, or nobody has */

static inline bool is_marked(int fd, unsigned marks) {
    return (unsigned)fd < MAX_FD && mark_table != NULL &&
           (atomic_load_explicit(&mark_table[fd], memory_order_relaxed) & marks) != 0;
}

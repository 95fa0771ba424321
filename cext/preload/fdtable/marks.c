/* What is known of a number that means nothing else to the library: see marks.h. */
#include "fdtable/marks.h"

#include <sys/mman.h>

_Atomic unsigned char *mark_table;

bool marks_init(void) {
    void *place = mmap(NULL, MAX_FD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        return false;
    mark_table = place;
    return true;
}

void mark_set(int fd, enum number_mark mark) {
    if ((unsigned)fd < MAX_FD && mark_table != NULL)
        atomic_fetch_or_explicit(&mark_table[fd], (unsigned char)mark, memory_order_relaxed);
}

static _Atomic unsigned forks;

static unsigned born_now(void) {
    return (atomic_load_explicit(&forks, memory_order_relaxed) % 15 + 1) << 4;
}

void mark_born(int fd) {
    if ((unsigned)fd < MAX_FD && mark_table != NULL)
        atomic_store_explicit(&mark_table[fd], (unsigned char)born_now(), memory_order_relaxed);
}

bool mark_is_older_than_fork(int fd) {
    return is_marked(fd, MARK_FORKS) &&
           (atomic_load_explicit(&mark_table[fd], memory_order_relaxed) & MARK_FORKS) != born_now();
}

void marks_after_fork(void) {
    atomic_fetch_add(&forks, 1);
}

void mark_clear(int fd) {
    if ((unsigned)fd < MAX_FD && mark_table != NULL)
        atomic_store_explicit(&mark_table[fd], 0, memory_order_relaxed);
}

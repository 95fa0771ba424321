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

void mark_clear(int fd) {
    if ((unsigned)fd < MAX_FD && mark_table != NULL)
        atomic_store_explicit(&mark_table[fd], 0, memory_order_relaxed);
}

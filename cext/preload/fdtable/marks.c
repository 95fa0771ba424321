/* Sockets that must stay with TCP: a bit for each descriptor. */
#include "fdtable/marks.h"

#include <sys/mman.h>

#include "fdtable/entry.h"

static _Atomic unsigned char *marks;
static _Atomic bool any;   /* nearly no program has one */

bool marks_init(void) {
    void *place = mmap(NULL, MAX_FD / 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        return false;
    marks = place;
    return true;
}

void mark_plain(int fd) {
    if ((unsigned)fd >= MAX_FD || marks == NULL)
        return;
    atomic_store(&any, true);
    atomic_fetch_or(&marks[fd / 8], (unsigned char)(1 << fd % 8));
}

void mark_clear(int fd) {
    if (LIKELY(!atomic_load_explicit(&any, memory_order_relaxed)) || (unsigned)fd >= MAX_FD)
        return;
    atomic_fetch_and(&marks[fd / 8], (unsigned char)~(1 << fd % 8));
}

bool is_marked_plain(int fd) {
    return UNLIKELY(atomic_load_explicit(&any, memory_order_relaxed)) && (unsigned)fd < MAX_FD &&
           (marks[fd / 8] & (1 << fd % 8)) != 0;
}

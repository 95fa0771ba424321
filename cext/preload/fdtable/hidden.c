/* Descriptors of the library's own: see hidden.h. */
#include "fdtable/hidden.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

#include "base/real.h"
#include "fdtable/entry.h"
#include "fdtable/limit.h"

static _Atomic unsigned char *hidden; /* a bit for each descriptor */

bool hidden_init(void) {
    void *place = mmap(NULL, MAX_FD / 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        return false;
    hidden = place;
    return true;
}

static _Atomic int count; /* of them */

static void mark(int fd) {
    unsigned char bit = (unsigned char)(1 << fd % 8);
    if (fd >= 0 && fd < MAX_FD && !(atomic_fetch_or(&hidden[fd / 8], bit) & bit))
        atomic_fetch_add(&count, 1);
}

/* Of places that are the program's as well, half is for us at most: it may need nearly all that it has, and finds no fault
 * with itself when they are gone. Threads that sleep take one each, and can do without. */
bool hidden_has_room(int fd) {
    struct limit_place place = limit_place();
    int taken = atomic_load_explicit(&count, memory_order_relaxed);
    return place.above ? taken < place.count / 4 * 3 : fd < place.first / 4 * 3 && taken < place.count / 2;
}

bool hidden_is_full(void) {
    struct limit_place place = limit_place();
    return atomic_load_explicit(&count, memory_order_relaxed) >= place.count / 8 * (place.above ? 7 : 6);
}

int hide_copy(int fd) {
    int high = real_fcntl(fd, F_DUPFD_CLOEXEC, limit_place().first);
    if (high < 0)
        high = real_fcntl(fd, F_DUPFD_CLOEXEC, 3);
    mark(high);
    return high;
}

int hide(int fd) {
    int high = hide_copy(fd), saved = errno;
    quiet_close(fd);
    errno = saved;
    return high;
}

void hidden_forget(int fd) {
    unsigned char bit = (unsigned char)(1 << fd % 8);
    if (fd >= 0 && fd < MAX_FD && (atomic_fetch_and(&hidden[fd / 8], (unsigned char)~bit) & bit))
        atomic_fetch_sub(&count, 1);
}

void hidden_close(int fd) {
    hidden_forget(fd);
    quiet_close(fd);
}

bool is_hidden(int fd) {
    return (unsigned)fd < MAX_FD && hidden != NULL && (hidden[fd / 8] & (1 << fd % 8)) != 0;
}

static _Atomic int spare = -1;
static _Atomic bool lent;

bool spare_hold(void) {
    int none = -1, fd;
    if (LIKELY(atomic_load(&spare) >= 0))
        return true;
    if ((fd = eventfd(0, EFD_CLOEXEC)) < 0)
        return false;
    int high = hide_copy(fd), kept = high >= 0 ? high : fd;
    if (high >= 0)
        quiet_close(fd);
    else
        mark(fd);
    atomic_store(&lent, false);
    if (!atomic_compare_exchange_strong(&spare, &none, kept))
        hidden_close(kept);
    return true;
}

void spare_lend(void) {
    int fd = atomic_exchange(&spare, -1);
    atomic_store(&lent, true);
    if (fd >= 0)
        hidden_close(fd);
}

void spare_restore(void) {
    if (UNLIKELY(atomic_load_explicit(&lent, memory_order_relaxed)))
        spare_hold();
}

/* Wakes every thread of this process that sleeps for connections: see kick.h. */
#include "fdtable/kick.h"

#include <sys/eventfd.h>

#include "base/real.h"
#include "fdtable/hidden.h"

static _Atomic int descriptor = -1;

int kick_descriptor(void) {
    int none = -1, fd = atomic_load(&descriptor);
    if (LIKELY(fd >= 0))
        return fd;
    if ((fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0 || (fd = hide(fd)) < 0)
        return -1;
    if (atomic_compare_exchange_strong(&descriptor, &none, fd))
        return fd;
    hidden_close(fd);
    return none;
}

void kick_all(void) {
    uint64_t one = 1;
    int saved = errno, fd = atomic_load(&descriptor);
    if (fd >= 0 && quiet_write(fd, &one, sizeof(one)) < 0)
        errno = saved; /* the counter is full: then it was an edge for everybody already */
    errno = saved;
}

/* What each descriptor of the program means to the provider, and how long such an object lives. */
#include "internal.h"
#include "parts.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <unistd.h>

_Atomic(struct entry *) *vn_table;
_Atomic int vn_highest = -1;

/* A short lock over the table: entry_hold must not find an object that another thread's close is about to free. */
static _Atomic int table_lock;

/* A bit for each descriptor that is the provider's own. */
static _Atomic unsigned char *hidden;

static void lock(void) {
    while (atomic_exchange_explicit(&table_lock, 1, memory_order_acquire))
        sched_yield();
}

static void unlock(void) {
    atomic_store_explicit(&table_lock, 0, memory_order_release);
}

bool table_init(void) {
    void *place = mmap(NULL, VN_MAX_FD * sizeof(*vn_table), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        return false;
    hidden = mmap(NULL, VN_MAX_FD / 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (hidden == MAP_FAILED)
        return false;
    vn_table = place;
    return true;
}

/* Without other threads nothing needs to be locked, and atomic counting would cost more than all else here. */
static struct entry *hold_alone(struct entry *entry) {
    int references = atomic_load_explicit(&entry->references, memory_order_relaxed);
    atomic_store_explicit(&entry->references, references + 1, memory_order_relaxed);
    return entry;
}

struct entry *entry_hold(int fd) {
    if (LIKELY(entry_of(fd) == NULL))
        return NULL;
    if (__libc_single_threaded)
        return hold_alone(entry_of(fd));
    lock();
    struct entry *entry = entry_of(fd);
    if (entry != NULL)
        atomic_fetch_add(&entry->references, 1);
    unlock();
    return entry;
}

struct conn *conn_hold(int fd) {
    if (LIKELY(conn_of(fd) == NULL))
        return NULL;
    struct entry *entry = entry_hold(fd);
    if (entry == NULL || entry->kind == VN_CONN)
        return (struct conn *)entry;
    entry_release(entry);
    return NULL;
}

void entry_release(struct entry *entry) {
    int references = atomic_load_explicit(&entry->references, memory_order_relaxed);
    if (__libc_single_threaded)
        atomic_store_explicit(&entry->references, references - 1, memory_order_relaxed);
    else
        references = atomic_fetch_sub(&entry->references, 1);
    if (references == 1)
        entry->destroy(entry);
}

struct entry *entry_clear(int fd) {
    if ((unsigned)fd >= VN_MAX_FD || vn_table == NULL)
        return NULL;
    lock();
    struct entry *entry = atomic_exchange(&vn_table[fd], NULL);
    unlock();
    return entry;
}

void entry_set(int fd, struct entry *entry) {
    if ((unsigned)fd >= VN_MAX_FD) {   /* so many descriptors are not followed */
        entry_release(entry);
        return;
    }
    lock();
    struct entry *old = atomic_exchange(&vn_table[fd], entry);
    if (fd > vn_highest)
        vn_highest = fd;
    unlock();
    if (old != NULL)
        entry_release(old);
}

void table_before_fork(void) {
    for (int fd = 0; fd <= vn_highest; fd++) {
        struct conn *conn = conn_hold(fd);
        if (conn == NULL)
            continue;
        atomic_store(&conn->own->forked, 1);
        /* Only one of the two would get the other end's half. */
        uint64_t deadline = now_ns() + vn_settings.answer_ns;
        while (conn->phase == VN_OFFERED && now_ns() < deadline) {
            bell_glance(conn, fd);
            sched_yield();
        }
        if (conn->phase == VN_OFFERED)
            conn_recall(conn, fd);
        conn_release(conn);
    }
}

/* Half of what the program may have: its own descriptors stay dense below. */
static int lowest_hidden(void) {
    static _Atomic int lowest;
    struct rlimit limit;
    if (lowest == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0)
        lowest = (int)((limit.rlim_cur > VN_MAX_FD ? VN_MAX_FD : limit.rlim_cur) / 2);
    return lowest;
}

bool is_far_from_limit(int fd) {
    return fd < lowest_hidden() / 2;
}

void table_after_fork(void) {
    atomic_store(&table_lock, 0);
    for (int fd = 0; fd <= vn_highest; fd++) {
        struct conn *conn = conn_of(fd);
        if (conn == NULL)
            continue;
        conn->leader = conn->followers = 0;
        if (conn->phase == VN_OFFERED) {   /* the parent's alone, see table_before_fork */
            conn->error = ECONNRESET;
            conn->phase = VN_BROKEN;
        }
    }
}

int hide_copy(int fd) {
    int high = real_fcntl(fd, F_DUPFD_CLOEXEC, lowest_hidden());
    if (high < 0)
        high = real_fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (high >= 0 && high < VN_MAX_FD)
        atomic_fetch_or(&hidden[high / 8], (unsigned char)(1 << high % 8));
    return high;
}

int hide(int fd) {
    int high = hide_copy(fd), saved = errno;
    real_close(fd);
    errno = saved;
    return high;
}

void hidden_lost(int fd) {
    if (fd >= 0 && fd < VN_MAX_FD)
        atomic_fetch_and(&hidden[fd / 8], (unsigned char)~(1 << fd % 8));
}

void hidden_close(int fd) {
    hidden_lost(fd);
    real_close(fd);
}

/* A descriptor that is held so that another one can be had, for moments, when the program has taken all. */
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
        real_close(fd);
    else if (fd < VN_MAX_FD)
        atomic_fetch_or(&hidden[fd / 8], (unsigned char)(1 << fd % 8));
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

bool is_hidden(int fd) {
    return (unsigned)fd < VN_MAX_FD && vn_table != NULL && (hidden[fd / 8] & (1 << fd % 8)) != 0;
}

/* What each descriptor of the program means to the library: see entry.h. */
#include "fdtable/entry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

_Atomic(struct entry *) *entry_table;
_Atomic int entry_highest = -1;

static struct entry *unused[ENTRY_RELAY_END + 1]; /* by kind */
static atomic_flag unused_lock = ATOMIC_FLAG_INIT;

bool entry_table_init(void) {
    void *place = mmap(NULL, MAX_FD * sizeof(*entry_table), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        return false;
    entry_table = place;
    return true;
}

/* Adds, and returns the sum. Without other threads the instruction needs no bus lock, which would cost more than all
 * else here; it must be one instruction all the same, as a signal's handler counts too. */
static inline long long count_add(struct entry *entry, long long add) {
#if defined(__x86_64__)
    if (__libc_single_threaded) {
        long long before = add;
        __asm__ volatile("xaddq %0, %1" : "+r"(before), "+m"(entry->count) : : "memory", "cc");
        return before + add;
    }
#endif
    return atomic_fetch_add(&entry->count, add) + add;
}

struct entry *entry_new(enum entry_kind kind, size_t bytes, void (*destroy)(struct entry *entry)) {
    struct entry *entry = NULL;
    if (!atomic_flag_test_and_set_explicit(&unused_lock, memory_order_acquire)) {
        if ((entry = unused[kind]) != NULL)
            unused[kind] = entry->next_free;
        atomic_flag_clear_explicit(&unused_lock, memory_order_release);
    }
    if (entry == NULL) { /* used memory keeps its kind, which others may be reading */
        if ((entry = calloc(1, bytes)) == NULL)
            return NULL;
        entry->kind = kind;
    }
    memset(entry + 1, 0, bytes - sizeof(*entry));
    entry->destroy = destroy;
    entry->next_free = NULL;
    atomic_fetch_add(&entry->count, ENTRY_LIVE + 1); /* somebody may be counting on what it was */
    return entry;
}

/* Without waiting: a handler may have interrupted who holds the lock. Then the memory is not used again. */
void entry_free(struct entry *entry) {
    if (atomic_flag_test_and_set_explicit(&unused_lock, memory_order_acquire))
        return;
    entry->next_free = unused[entry->kind];
    unused[entry->kind] = entry;
    atomic_flag_clear_explicit(&unused_lock, memory_order_release);
}

static inline void end_if_unused(struct entry *entry, long long count) {
    long long nobody = ENTRY_LIVE;
    if (UNLIKELY(count == ENTRY_LIVE) && atomic_compare_exchange_strong(&entry->count, &nobody, 0))
        entry->destroy(entry);
}

static inline bool try_hold(int fd, struct entry *entry) {
    long long count = count_add(entry, 1);
    if (LIKELY(entry_of(fd) == entry && (count & ENTRY_LIVE)))
        return true;
    entry_release(entry);
    return false;
}

struct entry *entry_hold(int fd) {
    struct entry *entry;
    do
        entry = entry_of(fd);
    while (UNLIKELY(entry != NULL) && !try_hold(fd, entry));
    return entry;
}

struct entry *entry_hold_kind(int fd, enum entry_kind kind) {
    struct entry *entry;
    do {
        entry = entry_of(fd);
        if (LIKELY(entry == NULL) || entry->kind != kind) /* which its memory never changes */
            return NULL;
    } while (!try_hold(fd, entry));
    return entry;
}

void entry_retain(struct entry *entry) {
    count_add(entry, 1);
}

void entry_release(struct entry *entry) {
    end_if_unused(entry, count_add(entry, -1));
}

void entry_keep_users(struct entry *entry, unsigned users) {
    atomic_store(&entry->count, (atomic_load(&entry->count) & ~ENTRY_USERS_MASK) | users);
}

struct entry *entry_clear(int fd, bool *last) {
    *last = false;
    if ((unsigned)fd >= MAX_FD || entry_table == NULL || entry_of(fd) == NULL)
        return NULL;
    struct entry *entry = atomic_exchange(&entry_table[fd], NULL);
    if (entry == NULL)
        return NULL;
    long long count = count_add(entry, 1 - ENTRY_DESCRIPTOR);
    *last = (count & ~ENTRY_LIVE) < ENTRY_DESCRIPTOR;
    return entry;
}

void entry_set(int fd, struct entry *entry) {
    if ((unsigned)fd >= MAX_FD) /* so many descriptors are not followed */
        return;
    count_add(entry, ENTRY_DESCRIPTOR);
    int highest = atomic_load(&entry_highest);
    while (fd > highest && !atomic_compare_exchange_weak(&entry_highest, &highest, fd))
        ;
    struct entry *old = atomic_exchange(&entry_table[fd], entry);
    if (old != NULL)
        end_if_unused(old, count_add(old, -ENTRY_DESCRIPTOR));
}

bool entry_has_descriptors(const struct entry *entry) {
    return (atomic_load(&entry->count) & ~ENTRY_LIVE) >= ENTRY_DESCRIPTOR;
}

int entry_descriptor(const struct entry *entry, int from) {
    for (int fd = from; fd <= atomic_load(&entry_highest); fd++)
        if (entry_of(fd) == entry)
            return fd;
    return -1;
}

/* What each descriptor of the program means to the library.
 *
 * Theory of operation. An entry is a connection, a listener, an epoll or the end of a relay. Its count holds two
 * numbers: the descriptors of this process that mean it, and the calls that use it right now. A connection is closed
 * for the other end when its last descriptor goes; its memory is used again when the last call has gone as well. So
 * a call that never returns - a signal handler has jumped out of it, or its thread was cancelled - costs that memory
 * and nothing else.
 *
 * The table has no lock. Who finds an entry counts itself, and looks whether the table still says so. That may count
 * on an entry that has just ended; therefore the memory of entries is never given back to the allocator, only used
 * again for the same kind, and a count without ENTRY_LIVE ends nothing.
 */
#pragma once

#include "base/common.h"

enum entry_kind { ENTRY_CONN = 1, ENTRY_LISTENER, ENTRY_EPOLL, ENTRY_RELAY_END };

#define ENTRY_LIVE (1ll << 62)
#define ENTRY_DESCRIPTOR (1ll << 32)
#define ENTRY_USERS_MASK (ENTRY_DESCRIPTOR - 1)

struct entry { /* the common beginning of all kinds */
    enum entry_kind kind;
    _Atomic long long count;
    void (*destroy)(struct entry *entry); /* with the last user: gives up what it holds, then calls entry_free */
    struct entry *next_free;
};

#define MAX_FD (1 << 20)
extern _Atomic(struct entry *) *entry_table; /* MAX_FD places, most of them never touched */
extern _Atomic int entry_highest;            /* no descriptor above it means anything to us */

bool entry_table_init(void);

static inline struct entry *entry_of(int fd) {
    if (UNLIKELY((unsigned)fd >= MAX_FD || entry_table == NULL))
        return NULL;
    return atomic_load_explicit(&entry_table[fd], memory_order_acquire);
}

/* Zeroed memory of a kind, with one user: the caller. NULL without memory. */
struct entry *entry_new(enum entry_kind kind, size_t bytes, void (*destroy)(struct entry *entry));
void entry_free(struct entry *entry); /* for destroy alone */

struct entry *entry_hold(int fd);                            /* with a user more (entry_release), or NULL */
struct entry *entry_hold_kind(int fd, enum entry_kind kind); /* the same, for entries of this kind only */
void entry_retain(struct entry *entry);                      /* one user more, for who has one already */
void entry_release(struct entry *entry);
void entry_keep_users(struct entry *entry, unsigned users); /* after a fork, with one thread: so many there are */

/* fd means entry from now on, besides what it is held by; what fd meant before is released. */
void entry_set(int fd, struct entry *entry);

/* fd means nothing any more. The entry, of which the caller is a user now, or NULL; *last: it had no other descriptor. */
struct entry *entry_clear(int fd, bool *last);

bool entry_has_descriptors(const struct entry *entry);
int entry_descriptor(const struct entry *entry, int from); /* the first number from `from` on that means it, or -1 */

/* Memory ordering of everything that two processes share: the only place with atomics.
 *
 * What pairs with what (left: writer, right: reader in another process or thread):
 *
 *   producer: write record, store head   RELEASE | consumer: load head ACQUIRE, read record
 *   consumer: read record, store tail    RELEASE | producer: load tail ACQUIRE, overwrite record
 *   producer: store head, FENCE, load wake_at    | consumer: store wake_at, FENCE, load head
 *   consumer: store tail, FENCE, load want_room  | producer: store want_room, FENCE, load tail
 *   host: version odd, FENCE, entries, version even RELEASE | reader: version ACQUIRE, entries, FENCE, version
 *   control thread: fill command, store seq RELEASE | loop: load seq ACQUIRE, read command
 *
 * The two rows with FENCE on both sides are Dekker's pattern: of two sides at least one sees the other's
 * store, so a side never sleeps while the other believes that it is awake. tests/unit/abi/test_orderings.py tries each
 * row in every order of events, with its fences and without each of them. The builtins are those of GCC
 * and clang for every architecture; nothing here relies on x86's strong order.
 */
#ifndef VNICD_BARRIER_H
#define VNICD_BARRIER_H

#include <stdint.h>
#include <string.h>

// clang-format off
static inline uint64_t vn_load_acquire(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }

static inline uint64_t vn_load_relaxed(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }

static inline void vn_store_release(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

static inline void vn_store_relaxed(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }

static inline void vn_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

static inline uint64_t vn_fetch_or(uint64_t *p, uint64_t v) { return __atomic_fetch_or(p, v, __ATOMIC_ACQ_REL); }

static inline uint64_t vn_fetch_and(uint64_t *p, uint64_t v) { return __atomic_fetch_and(p, v, __ATOMIC_ACQ_REL); }

static inline uint64_t vn_exchange(uint64_t *p, uint64_t v) { return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL); }

/* A counter has one writer and readers that may see it a little late: no read-modify-write is needed. */
static inline void vn_count(uint64_t *p, uint64_t n) { vn_store_relaxed(p, *p + n); }
// clang-format on

/* Copy bytes that a peer may be changing: afterwards only the copy is used, and the compiler may not read
 * the source again. */
static inline void vn_copy_once(void *to, const void *from, size_t n) {
    memcpy(to, from, n);
    __asm__ __volatile__("" ::: "memory");
}

#endif

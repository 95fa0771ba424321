/* The large ring of a fast stream.
 *
 * Bytes that are still in the writer's cache reach the reader on another CPU slowly: by iperf3 7 GB/s, where those that have
 * been driven out of it, into a cache that both share, came with 12 to 26 (x86, 1 MiB of second-level cache for each CPU).
 * So a ring that is larger than that cache is faster. But it takes up to VN_LARGE_BYTES of memory until the connection ends,
 * so it is for streams that have shown to be fast, and for few of a process at a time; and the address space for it is only
 * taken then, because page tables count where there are 10,000 connections.
 *
 * The writer wishes it, the reader maps the whole of the region and says so, the writer does the same and goes on in the large
 * ring, behind what the small one is the beginning of. So what is in there can be read as before, and is not written over:
 * less than the large ring by the small one is on the way at a time. A reader that can't map it, or is slow, keeps the small.
 * Of several processes that have an end since before (fork) each maps it when it first needs it, and has a broken connection
 * if it can't.
 */
#include "stream/large.h"

#include "base/settings.h"
#include "memory/region.h"

#define MOST_LARGE 32         /* of one process */
#define FAST_BYTES (4u << 20) /* so many must have gone at once */
#define FAST_NS 4             /* with so much time for each byte: 2 Gbit/s */

static _Atomic int granted;

static char *ring_of(void **whole, const struct vn_region *region) {
    if (*whole == NULL)
        *whole = region_map_whole(region);
    return *whole != NULL ? (char *)*whole + VN_CONTROL_BYTES : NULL;
}

char *large_own(struct conn *conn) {
    return ring_of(&conn->whole_own, conn->own);
}

const char *large_peer(struct conn *conn) {
    return ring_of(&conn->whole_peer, conn->peer);
}

void large_close(struct conn *conn) {
    region_unmap_whole(conn->whole_own);
    region_unmap_whole(conn->whole_peer);
    if (conn->wishes_large)
        atomic_fetch_sub(&granted, 1);
}

void large_answer(struct conn *conn) {
    if (!conn->tried_large && large_peer(conn) != NULL)
        atomic_store_explicit(&conn->own->has_large, 1, memory_order_release);
    conn->tried_large = true;
}

static void wish(struct conn *conn) {
    if (atomic_fetch_add(&granted, 1) >= MOST_LARGE) {
        atomic_fetch_sub(&granted, 1);
        return;
    }
    conn->wishes_large = true;
    atomic_store_explicit(&conn->own->mode, VN_WISHES, memory_order_relaxed);
}

static void begin(struct conn *conn, uint64_t head) {
    struct vn_region *own = conn->own;
    if (large_own(conn) == NULL)
        return;
    atomic_store_explicit(&own->large_from, head, memory_order_relaxed);
    atomic_store_explicit(&own->large_origin, head - VN_RING_BYTES, memory_order_relaxed);
    atomic_store_explicit(&own->mode, VN_LARGE, memory_order_release); /* and so shown before the head that follows */
}

void large_full(struct conn *conn, uint64_t head, uint64_t tail) {
    struct vn_region *own = conn->own;
    if (own->mode == VN_LARGE || own->send_buffer != 0 || conn_phase(conn) != CONN_DIRECT ||
        settings.large == LARGE_NEVER)
        return;
    if (own->mode == VN_WISHES) {
        const struct vn_region *peer = conn->peer;
        if (atomic_load_explicit(&peer->has_large, memory_order_acquire))
            begin(conn, head);
        return;
    }
    if (settings.large == LARGE_ALWAYS) {
        wish(conn);
        return;
    }
    uint64_t now = now_ns(), gone = tail - conn->full_tail;
    bool fast = conn->full_at != 0 && gone >= (now - conn->full_at) / FAST_NS;
    conn->fast_bytes = fast ? conn->fast_bytes + gone : 0;
    conn->full_at = now;
    conn->full_tail = tail;
    if (conn->fast_bytes >= FAST_BYTES)
        wish(conn);
}

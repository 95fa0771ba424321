/* Pairs of halves that wait for their next connection.
 *
 * To make, map, touch and unmap memory is most of what a short connection costs. So when both ends of a connection that
 * came by a door have let it go, each keeps the two halves as they are mapped, marked VN_IDLE. The client offers the
 * same half again at the same door, and only there: nobody else ever saw it. Who accepts it knows it by its inode,
 * makes its own half of the pair anew, and answers by memory: it writes the number of the use (`use`, which the client
 * has sent along) into its half. An accepting process that does not know the half,
 * or knows it from before another process of the listener had it, answers as ever, with a new one.
 *
 * A half is used again only by who made it: by the client when the accepting end's half is idle, by the accepting end
 * when it is offered its fellow. What a process shared with a child, and what held many bytes, is not kept; a child
 * has its own pool, an empty one.
 */
#include "internal.h"
#include "parts.h"

#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PAIRS 128
#define MOST_OFFERED 64          /* own halves whose memfd is kept open, in use or idle; at most a SHARE of the descriptors */
#define SHARE 16
#define MOST_REACH (64u * 1024)  /* bytes of a ring that were in use: an idle half keeps their memory */

struct idle {
    struct pair pair;
    uint64_t since;              /* 0: the place is free */
};

static struct idle pairs[PAIRS];
static int highest;              /* places below it may be taken */
static _Atomic int offered;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void drop(struct pair *pair) {
    half_unmap(pair->peer);
    half_unmap(pair->own);
    pool_close(pair);
}

bool pool_empty(void) {
    bool any = false;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < highest; i++)
        if (pairs[i].since != 0) {
            drop(&pairs[i].pair);
            any = true;
        }
    memset(pairs, 0, (size_t)highest * sizeof(*pairs));
    highest = 0;
    pthread_mutex_unlock(&mutex);
    return any;
}

/* So that the child finds no pair that another thread was about to keep, which it would unmap. */
void pool_before_fork(void) {
    pthread_mutex_lock(&mutex);
}

void pool_after_fork(bool child) {
    pthread_mutex_unlock(&mutex);
    if (child)
        pool_empty();
}

static int most_offered(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < MOST_OFFERED * SHARE ? (int)limit.rlim_cur / SHARE
                                                                                          : MOST_OFFERED;
}

/* Of the idle halves that were offered, the one that waits longest: its fellow may never become idle. */
static void drop_oldest(void) {
    struct idle *oldest = NULL;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < highest; i++)
        if (pairs[i].since != 0 && pairs[i].pair.memfd >= 0 && (oldest == NULL || pairs[i].since < oldest->since))
            oldest = &pairs[i];
    if (oldest != NULL) {
        oldest->since = 0;
        drop(&oldest->pair);
    }
    pthread_mutex_unlock(&mutex);
}

void pool_keep_memfd(struct pair *pair, int memfd) {
    uint64_t inode = half_inode(memfd);
    if (offered >= most_offered())
        drop_oldest();
    if (inode != 0 && atomic_fetch_add(&offered, 1) < most_offered() && (pair->memfd = hide_copy(memfd)) >= 0) {
        pair->inode = inode;
        return;
    }
    if (inode != 0)
        atomic_fetch_sub(&offered, 1);
}

/* A program can put a file of its own over our descriptor, or close it by a system call: that is not ours any more. */
static bool has_memfd(const struct pair *pair) {
    return half_inode(pair->memfd) == pair->inode;
}

void pool_close(const struct pair *pair) {
    if (pair->memfd < 0)
        return;
    if (has_memfd(pair))
        hidden_close(pair->memfd);
    else
        hidden_lost(pair->memfd);
    atomic_fetch_sub(&offered, 1);
}

/* Whether who wants to knock can offer this pair again. */
static bool is_for(const struct pair *pair, const struct vn_knock *knock) {
    return pair->memfd >= 0 && pair->ticket == knock->ticket && address_same(&pair->target, &knock->target) &&
           memcmp(pair->own->local.ip, knock->source.ip, sizeof(knock->source.ip)) == 0 &&
           (atomic_load_explicit(&pair->peer->state, memory_order_acquire) & VN_IDLE) && pair->peer->use == pair->own->use;
}

bool pool_take(struct pair *pair, const struct vn_knock *knock, uint64_t inode) {
    bool found = false;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < highest && !found; i++) {
        struct pair *each = &pairs[i].pair;
        if (pairs[i].since == 0 || !(inode == 0 ? is_for(each, knock) : each->inode == inode && each->memfd < 0))
            continue;
        pairs[i].since = 0;
        /* Else the client has another half for it by now. */
        found = inode == 0 ? has_memfd(each) : each->own->use == knock->use - 1;
        if (found)
            *pair = *each;
        else
            drop(each);
    }
    pthread_mutex_unlock(&mutex);
    return found;
}

/* The place for one more: a free one, or that of who waits longest. */
static struct idle *place(void) {
    struct idle *oldest = &pairs[0];
    for (int i = 0; i < highest; i++) {
        if (pairs[i].since == 0)
            return &pairs[i];
        if (pairs[i].since < oldest->since)
            oldest = &pairs[i];
    }
    return highest < PAIRS ? &pairs[highest++] : oldest;
}

bool pool_keep(const struct conn *conn) {
    if (conn->phase != VN_DIRECT || conn->pair.inode == 0 || conn->own->forked || conn->peer->forked ||
        conn->own->reach > MOST_REACH || conn->peer->reach > MOST_REACH)
        return false;
    struct pair gone = {.memfd = -1}, pair = conn->pair;
    pair.own = conn->own;
    pair.peer = conn->peer;
    pthread_mutex_lock(&mutex);
    struct idle *idle = place();
    if (idle->since != 0)
        gone = idle->pair;
    *idle = (struct idle){pair, now_ns()};
    atomic_fetch_or(&pair.own->state, VN_IDLE);   /* from here on the client may offer its half again */
    pthread_mutex_unlock(&mutex);
    drop(&gone);
    return true;
}

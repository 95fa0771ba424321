/* Doors: inboxes of listeners, by which connections come without a handshake of TCP for each.
 *
 * A handshake costs four frames and most of a short connection's time. So the accepting end gives whoever has made one
 * (VN_ANSWER) the outside of its listener's door, a pair of SOCK_SEQPACKET sockets whose inside all processes
 * that share the listener read. For VERIFIED_NS, and as long as the broker has seen no change of firewall, routes or
 * addresses (the epoch), further connections of that process to that target are sent through the door; then the next
 * one makes a handshake again. A door that is gone or full is no error: the connection is made with a handshake.
 *
 * Everybody who was given a door may write into it what he likes. So with it comes a ticket, a hash (SipHash-2-4) under
 * the listener's secret of the addresses that the handshake was made with: who knocks can't say that he is somebody
 * else. And he can shut the door: then there is a new one.
 */
#include "internal.h"
#include "parts.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define VERIFIED_NS 1000000000u
#define DOORS 64

struct door {
    struct vn_address source, target;
    int outside;
    uint64_t verified_at, epoch, ticket;
};

static struct door doors[DOORS];
static unsigned next;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void door_after_fork(void) {
    pthread_mutex_init(&mutex, NULL);
}

bool door_open(int pair[2]) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        return false;
    fds[0] = hide(fds[0]);
    fds[1] = hide(fds[1]);
    if (fds[0] >= 0 && fds[1] >= 0) {
        memcpy(pair, fds, sizeof(fds));
        return true;
    }
    hidden_close(fds[0]);
    hidden_close(fds[1]);
    return false;
}

bool door_is_shut(int inside) {
    struct pollfd door = {inside, POLLRDHUP, 0};
    return real_poll(&door, 1, 0) > 0;
}

bool door_renew(int inside, int outside) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        return false;
    real_dup3(fds[0], inside, O_CLOEXEC);   /* other threads may be looking at these numbers */
    real_dup3(fds[1], outside, O_CLOEXEC);
    close_all(fds, 2);
    return true;
}

static inline void sip_round(uint64_t v[4]) {
#define ROTATED(x, bits) (((x) << (bits)) | ((x) >> (64 - (bits))))
    v[0] += v[1], v[2] += v[3];
    v[1] = ROTATED(v[1], 13) ^ v[0], v[3] = ROTATED(v[3], 16) ^ v[2];
    v[0] = ROTATED(v[0], 32);
    v[2] += v[1], v[0] += v[3];
    v[1] = ROTATED(v[1], 17) ^ v[2], v[3] = ROTATED(v[3], 21) ^ v[0];
    v[2] = ROTATED(v[2], 32);
#undef ROTATED
}

uint64_t door_ticket(const uint64_t secret[2], const struct vn_address *source, const struct vn_address *target) {
    uint64_t words[6] = {source->family | (uint64_t)target->family << 16 | (uint64_t)target->port << 32};
    uint64_t v[4] = {secret[0] ^ 0x736f6d6570736575u, secret[1] ^ 0x646f72616e646f6du,
                     secret[0] ^ 0x6c7967656e657261u, secret[1] ^ 0x7465646279746573u};
    memcpy(&words[1], source->ip, 16);
    memcpy(&words[3], target->ip, 16);
    words[5] = (uint64_t)40 << 56;   /* bytes before it */
    for (int i = 0; i < 6; i++) {
        v[3] ^= words[i];
        sip_round(v), sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static struct door *find(const struct vn_address *target) {
    for (int i = 0; i < DOORS; i++)
        if (doors[i].target.family != 0 && address_same(&doors[i].target, target))
            return &doors[i];
    return NULL;
}

static void forget(struct door *door) {
    if (door->outside >= 0)
        hidden_close(door->outside);
    memset(door, 0, sizeof(*door));
}

static bool is_valid(const struct door *door) {
    return now_ns() - door->verified_at <= VERIFIED_NS && door->epoch == broker_epoch();
}

static void keep(const struct vn_address *source, const struct vn_address *target, int outside, uint64_t ticket) {
    pthread_mutex_lock(&mutex);
    struct door *door = find(target);
    if (door == NULL)
        door = &doors[next++ % DOORS];
    if (door->target.family != 0)
        forget(door);
    *door = (struct door){*source, *target, outside, now_ns(), broker_epoch(), ticket};
    pthread_mutex_unlock(&mutex);
}

void door_learn(const struct vn_address *source, const struct vn_address *target, int outside, uint64_t ticket) {
    int kept = is_unix(outside) ? hide_copy(outside) : -1;
    if (kept >= 0)
        keep(source, target, kept, ticket);
}

void door_learn_none(const struct vn_address *target) {
    keep(target, target, -1, 0);
}

bool door_is_none(const struct vn_address *target) {
    pthread_mutex_lock(&mutex);
    struct door *door = find(target);
    bool none = door != NULL && door->outside < 0 && is_valid(door);
    pthread_mutex_unlock(&mutex);
    return none;
}

bool door_was_open(const struct vn_address *target) {
    pthread_mutex_lock(&mutex);
    struct door *door = find(target);
    bool was = door != NULL && door->outside >= 0;
    pthread_mutex_unlock(&mutex);
    return was;
}

bool door_source(const struct vn_address *target, struct vn_address *source) {
    pthread_mutex_lock(&mutex);
    struct door *door = find(target);
    bool known = door != NULL && door->outside >= 0 && is_valid(door);
    if (known)
        *source = door->source;
    pthread_mutex_unlock(&mutex);
    return known;
}

/* The door that a knock may be for: the ticket is good for one address. */
static struct door *find_for(const struct vn_knock *knock) {
    struct door *door = find(&knock->target);
    if (door == NULL || door->outside < 0)
        return NULL;
    if (!is_valid(door)) {
        forget(door);
        return NULL;
    }
    return memcmp(knock->source.ip, door->source.ip, sizeof(knock->source.ip)) == 0 ? door : NULL;
}

bool door_find(struct vn_knock *knock) {
    pthread_mutex_lock(&mutex);
    struct door *door = find_for(knock);
    if (door != NULL)
        knock->ticket = door->ticket;
    pthread_mutex_unlock(&mutex);
    return door != NULL;
}

bool door_knock(const struct vn_knock *knock, int bell, int half) {
    int fds[2] = {bell, half};
    bool sent = false;
    pthread_mutex_lock(&mutex);
    struct door *door = find_for(knock);
    if (door != NULL && door->ticket == knock->ticket) {
        sent = message_send(door->outside, knock, sizeof(*knock), fds, 2, MSG_DONTWAIT);
        if (!sent && errno != EAGAIN)
            forget(door);
    }
    pthread_mutex_unlock(&mutex);
    return sent;
}

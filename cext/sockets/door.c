/* Doors: inboxes of listeners, by which connections come without a handshake of TCP for each.
 *
 * A handshake costs four frames and most of a short connection's time. So the accepting end gives whoever has made one
 * (VN_ANSWER) the outside of its listener's door, a pair of SOCK_SEQPACKET sockets whose inside all processes
 * that share the listener read. For VERIFIED_NS, and as long as the broker has seen no change of firewall, routes or
 * addresses (the epoch), further connections of that process to that target are sent through the door; then the next
 * one makes a handshake again. A door that is gone or full is no error: the connection is made with a handshake.
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
    uint64_t verified_at, epoch;
};

static struct door doors[DOORS];
static unsigned next;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void door_after_fork(void) {
    pthread_mutex_init(&mutex, NULL);
}

bool door_open(int pair[2]) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return false;
    for (int i = 0; i < 2; i++)
        if ((pair[i] = hide(pair[i])) < 0)
            return false;
    return true;
}

static struct door *find(const struct vn_address *target) {
    for (int i = 0; i < DOORS; i++)
        if (doors[i].target.family != 0 && address_same(&doors[i].target, target))
            return &doors[i];
    return NULL;
}

static void forget(struct door *door) {
    hidden_close(door->outside);
    memset(door, 0, sizeof(*door));
}

static bool is_valid(const struct door *door) {
    return now_ns() - door->verified_at <= VERIFIED_NS && door->epoch == broker_epoch();
}

void door_learn(const struct vn_address *source, const struct vn_address *target, int outside) {
    pthread_mutex_lock(&mutex);
    struct door *door = find(target);
    int kept = hide_copy(outside);
    if (kept >= 0) {
        if (door == NULL)
            door = &doors[next++ % DOORS];
        if (door->target.family != 0)
            forget(door);
        *door = (struct door){*source, *target, kept, now_ns(), broker_epoch()};
    }
    pthread_mutex_unlock(&mutex);
}

bool door_source(const struct vn_address *target, struct vn_address *source) {
    pthread_mutex_lock(&mutex);
    struct door *door = find(target);
    bool known = door != NULL && is_valid(door);
    if (known)
        *source = door->source;
    pthread_mutex_unlock(&mutex);
    return known;
}

int door_knock(const struct vn_address *source, const struct vn_address *target, int bell, int half) {
    struct vn_knock knock = {*source, *target};
    int fds[2] = {bell, half}, sent = 0;
    pthread_mutex_lock(&mutex);
    struct door *door = find(target);
    if (door != NULL) {
        if (!is_valid(door))
            forget(door);
        else if (message_send(door->outside, &knock, sizeof(knock), fds, 2, MSG_DONTWAIT))
            sent = 1;
        else if (errno != EAGAIN)
            forget(door);
    }
    pthread_mutex_unlock(&mutex);
    return sent;
}

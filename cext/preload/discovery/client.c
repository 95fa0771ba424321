/* Talking to the broker: the table and listeners by one connection, offers and their taking at its exchange by another. */
#include "discovery/client.h"

#include <pthread.h>

#include "base/message.h"
#include "base/real.h"
#include "base/signals.h"
#include "discovery/resolver.h"
#include "discovery/table.h"
#include "fdtable/hidden.h"

/* between two looks whether the broker lives; another one takes longer to start */
#define LOOK_NS (10 * MILLISECOND_NS)

struct link {
    const char *name; /* after the broker's */
    pthread_mutex_t mutex;
    int fd;
    uint64_t not_before; /* the next attempt: it was of another version, or too slow */
};

static struct link broker = {"", PTHREAD_MUTEX_INITIALIZER, -1, 0};
static struct link exchange = {VN_EXCHANGE_NAME, PTHREAD_MUTEX_INITIALIZER, -1, 0};
static bool owed; /* the answer to our HELLO is still to come */

/* ------------------------------------------------------------------------------------------------ connections */

static void lock(struct link *link, struct shield *shield) {
    signals_shield(shield); /* a handler must not jump out with the mutex */
    mutex_lock(&link->mutex);
}

static void unlock(struct link *link, const struct shield *shield) {
    mutex_unlock(&link->mutex);
    signals_unshield(shield);
}

static void hang_up(struct link *link) {
    if (link->fd >= 0)
        hidden_close(link->fd);
    link->fd = -1;
}

void broker_before_fork(void) {
    mutex_lock(&broker.mutex);
    mutex_lock(&exchange.mutex);
}

void broker_after_fork_here(void) {
    mutex_unlock(&exchange.mutex);
    mutex_unlock(&broker.mutex);
}

void broker_after_fork(void) {
    pthread_mutex_init(&broker.mutex, NULL);
    pthread_mutex_init(&exchange.mutex, NULL);
    hang_up(&broker);
    hang_up(&exchange);
}

static bool answer(struct link *link, struct vn_reply *reply, int *got, int *got_count) {
    ssize_t bytes = message_receive(link->fd, reply, sizeof(*reply), got, got_count, 0);
    if (bytes == sizeof(*reply) && reply->version == VN_SOCKETS_VERSION)
        return true;
    if (bytes > 0 || (bytes < 0 && errno == EAGAIN)) /* it is of another version, or too slow */
        link->not_before = now_ns() + BROKER_PAUSE_NS;
    close_all(got, *got_count);
    *got_count = 0;
    return false;
}

static bool send_request(struct link *link, enum vn_op op, const struct vn_address *source,
                         const struct vn_address *target, const int *fds, int count) {
    struct vn_request request = {.version = VN_SOCKETS_VERSION, .op = op};
    if (source != NULL)
        request.source = *source;
    if (target != NULL)
        request.target = *target;
    return message_send(link->fd, &request, sizeof(request), fds, count, 0);
}

/* With the mutex. What we ask the broker next need not wait for its answer to HELLO. */
static bool reach(struct link *link) {
    if (link->fd >= 0)
        return true;
    int fd = now_ns() >= link->not_before ? broker_call(link->name, 0) : -1;
    if (fd < 0)
        return false;
    link->fd = hide(fd);
    if (link->fd < 0 || link == &exchange)
        return link->fd >= 0;
    owed = send_request(link, VN_HELLO, NULL, NULL, NULL, 0);
    if (!owed)
        hang_up(link);
    return owed;
}

/* ------------------------------------------------------------------------------------------------- the broker */

/* With the answer to our HELLO comes the table of this broker. */
static bool greet(void) {
    struct vn_reply reply;
    int fds[VN_MOST_FDS], count;
    if (!owed)
        return true;
    owed = false;
    if (!answer(&broker, &reply, fds, &count)) {
        hang_up(&broker);
        return false;
    }
    table_learn(&reply, fds, count);
    return true;
}

/* For a broker that has no time now: it reads this later, and does not have to answer HELLO before. */
static void leave_word(const struct vn_address *address) {
    struct vn_request request = {.version = VN_SOCKETS_VERSION, .op = VN_LISTEN, .source = *address};
    int fd = broker_call("", SOCK_NONBLOCK);
    if (fd < 0)
        return;
    message_send(fd, &request, sizeof(request), NULL, 0, MSG_DONTWAIT);
    quiet_close(fd);
}

bool broker_listen(const struct vn_address *address) {
    struct vn_reply reply;
    int got[VN_MOST_FDS], count;
    bool heard = false;
    struct shield shield;
    lock(&broker, &shield);
    for (int i = 0; i < 2 && !heard && reach(&broker); i++) { /* it may have been replaced since the last time */
        heard =
            send_request(&broker, VN_LISTEN, address, NULL, NULL, 0) && greet() && answer(&broker, &reply, got, &count);
        if (!heard)
            hang_up(&broker);
    }
    unlock(&broker, &shield);
    if (heard)
        close_all(got, count);
    else
        leave_word(address);
    return heard && reply.reason == VN_REASON_direct;
}

bool broker_hello(void) {
    struct shield shield;
    lock(&broker, &shield);
    bool reached = reach(&broker) && greet();
    unlock(&broker, &shield);
    return reached;
}

/* Whether the broker has gone: a new one, with another table, may be there. */
static bool has_gone(void) {
    char byte;
    ssize_t got = quiet_recv(broker.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

static bool look_again(void) {
    int saved = errno;
    struct shield shield;
    lock(&broker, &shield);
    if (broker.fd >= 0 && has_gone())
        hang_up(&broker);
    bool reached = reach(&broker) && greet();
    unlock(&broker, &shield);
    errno = saved;
    return reached;
}

/* The table of a broker that was there a moment ago; NULL for none. */
static const struct vn_table *recent_table(void) {
    static _Atomic uint64_t next_look;
    static _Atomic bool reached;
    uint64_t now = now_ns();
    if (now >= next_look) {
        next_look = now + LOOK_NS;
        reached = look_again();
    }
    return reached ? table_shared() : NULL;
}

bool broker_has_offers(void) {
    const struct vn_table *fabric = recent_table();
    return fabric != NULL && atomic_load(&fabric->offers[table_own_port()]) != 0;
}

/* ----------------------------------------------------------------------------------------------- the exchange */

/* One request and its answer; once more when the exchange has been replaced since the last time. */
static bool ask_exchange(enum vn_op op, const struct vn_address *source, const struct vn_address *target,
                         const int *fds, int count, struct vn_reply *reply, int *got, int *got_count) {
    bool heard = false;
    struct shield shield;
    lock(&exchange, &shield);
    for (int i = 0; i < 2 && !heard && reach(&exchange); i++) {
        heard = send_request(&exchange, op, source, target, fds, count) && answer(&exchange, reply, got, got_count);
        if (!heard)
            hang_up(&exchange);
    }
    unlock(&exchange, &shield);
    return heard;
}

enum vn_reason broker_offer(const struct vn_address *source, const struct vn_address *target, int doorbell, int region,
                            int tcp) {
    struct vn_reply reply;
    int fds[3] = {doorbell, region, tcp}, got[VN_MOST_FDS], count;
    if (!ask_exchange(VN_OFFER, source, target, fds, 3, &reply, got, &count))
        return VN_REASON_no_broker;
    close_all(got, count);
    return reply.reason < VN_REASON_COUNT ? (enum vn_reason)reply.reason : VN_REASON_unsupported;
}

void broker_forget(const struct vn_address *source, const struct vn_address *target) {
    struct shield shield;
    lock(&exchange, &shield);
    if (exchange.fd >= 0 && !send_request(&exchange, VN_FORGET, source, target, NULL, 0))
        hang_up(&exchange);
    unlock(&exchange, &shield);
}

bool broker_take(const struct vn_address *source, const struct vn_address *target, int tcp, int *doorbell,
                 int *region) {
    struct vn_reply reply;
    int got[VN_MOST_FDS], count;
    if (!ask_exchange(VN_TAKE, source, target, &tcp, 1, &reply, got, &count))
        return false;
    if (reply.reason != VN_REASON_direct || count != 2) {
        close_all(got, count);
        return false;
    }
    *doorbell = got[0];
    *region = got[1];
    return true;
}

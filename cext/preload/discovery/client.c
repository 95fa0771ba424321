/* Asking the broker: offers, taking them, and telling of listeners. */
#include "internal.h"
#include "parts.h"

#include <pthread.h>
#include <sys/un.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int broker = -1;
static uint64_t not_before;
static bool owed;   /* the answer to our HELLO is still to come */

void broker_after_fork(void) {
    pthread_mutex_init(&mutex, NULL);
    if (broker >= 0)
        hidden_close(broker);
    broker = -1;
}

static void hang_up(void) {
    if (broker >= 0)
        hidden_close(broker);
    broker = -1;
}

static bool answer(struct vn_reply *reply, int *got, int *got_count) {
    ssize_t bytes = message_receive(broker, reply, sizeof(*reply), got, got_count, 0);
    if (bytes == sizeof(*reply) && reply->version == VN_SOCKETS_VERSION)
        return true;
    if (bytes > 0 || (bytes < 0 && errno == EAGAIN))   /* it is of another version, or too slow */
        not_before = now_ns() + VN_PAUSE_NS;
    close_all(got, *got_count);
    *got_count = 0;
    return false;
}

/* With the answer to our HELLO comes the table of this broker. */
static bool greet(void) {
    struct vn_reply reply;
    int fds[VN_MOST_FDS], count;
    if (!owed)
        return true;
    owed = false;
    if (!answer(&reply, fds, &count)) {
        hang_up();
        return false;
    }
    fabric_learn(&reply, fds, count);
    return true;
}

/* One question and its answer; false when there is no broker (any more). */
static bool ask(enum vn_op op, const struct vn_address *source, const struct vn_address *target, const int *fds, int count,
                struct vn_reply *reply, int *got, int *got_count) {
    struct vn_request request = {.version = VN_SOCKETS_VERSION, .op = op};
    if (source != NULL)
        request.source = *source;
    if (target != NULL)
        request.target = *target;
    *got_count = 0;
    if (!message_send(broker, &request, sizeof(request), fds, count, 0))
        return false;
    return reply == NULL || (greet() && answer(reply, got, got_count));
}

/* With the mutex: a connection to the broker, or false. What we ask next need not wait for the answer to HELLO. */
static bool reach(void) {
    struct vn_request hello = {.version = VN_SOCKETS_VERSION, .op = VN_HELLO};
    if (broker >= 0)
        return true;
    int fd = now_ns() >= not_before ? broker_call("", 0) : -1;
    if (fd < 0)
        return false;
    broker = hide(fd);
    if (broker < 0)
        return false;
    owed = message_send(broker, &hello, sizeof(hello), NULL, 0, 0);
    if (!owed)
        hang_up();
    return owed;
}

/* `ask`, and once more when the broker has been replaced since the last time. */
static bool ask_again(enum vn_op op, const struct vn_address *source, const struct vn_address *target, const int *fds,
                      int count, struct vn_reply *reply, int *got, int *got_count) {
    for (int i = 0; i < 2; i++) {
        if (!reach())
            return false;
        if (ask(op, source, target, fds, count, reply, got, got_count))
            return true;
        hang_up();
    }
    return false;
}

enum vn_why broker_offer(const struct vn_address *source, const struct vn_address *target, int bell, int half, int tcp) {
    struct vn_reply reply;
    int fds[3] = {bell, half, tcp}, got[VN_MOST_FDS], count;
    pthread_mutex_lock(&mutex);
    bool answered = ask_again(VN_OFFER, source, target, fds, 3, &reply, got, &count);
    pthread_mutex_unlock(&mutex);
    if (answered)
        close_all(got, count);
    if (!answered)
        return VN_WHY_no_broker;
    return reply.why < VN_WHY_COUNT ? (enum vn_why)reply.why : VN_WHY_unsupported;
}

/* For a broker that has no time now: it reads this later, and does not have to answer HELLO before. */
static void leave_word(const struct vn_address *address) {
    struct vn_request request = {.version = VN_SOCKETS_VERSION, .op = VN_LISTEN, .source = *address};
    int fd = broker_call("", SOCK_NONBLOCK);
    if (fd < 0)
        return;
    message_send(fd, &request, sizeof(request), NULL, 0, MSG_DONTWAIT);
    real_close(fd);
}

bool broker_listen(const struct vn_address *address) {
    struct vn_reply reply;
    int got[VN_MOST_FDS], count;
    pthread_mutex_lock(&mutex);
    bool answered = ask_again(VN_LISTEN, address, NULL, NULL, 0, &reply, got, &count);
    pthread_mutex_unlock(&mutex);
    if (answered)
        close_all(got, count);
    else
        leave_word(address);
    return answered && reply.why == VN_WHY_direct;
}

void broker_forget(const struct vn_address *source, const struct vn_address *target) {
    int count;
    pthread_mutex_lock(&mutex);
    if (broker >= 0 && !ask(VN_FORGET, source, target, NULL, 0, NULL, NULL, &count))
        hang_up();
    pthread_mutex_unlock(&mutex);
}

bool broker_take(const struct vn_address *source, const struct vn_address *target, int tcp, int *bell, int *half) {
    struct vn_reply reply;
    int got[VN_MOST_FDS], count;
    pthread_mutex_lock(&mutex);
    bool answered = ask_again(VN_TAKE, source, target, &tcp, 1, &reply, got, &count);
    pthread_mutex_unlock(&mutex);
    if (!answered)
        return false;
    if (reply.why != VN_WHY_direct || count != 2) {
        close_all(got, count);
        return false;
    }
    *bell = got[0];
    *half = got[1];
    return true;
}

/* Whether the broker has gone (a new one may be there); a look costs a system call. */
static bool has_gone(void) {
    char byte;
    ssize_t got = real_recv(broker, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

bool broker_hello(void) {
    pthread_mutex_lock(&mutex);
    bool reached = reach() && greet();
    pthread_mutex_unlock(&mutex);
    return reached;
}

bool broker_has_offers(void) {
    int saved = errno;
    pthread_mutex_lock(&mutex);
    if (broker >= 0 && has_gone())
        hang_up();
    bool reached = reach() && greet();
    pthread_mutex_unlock(&mutex);
    errno = saved;
    const struct vn_table *fabric = reached ? fabric_table() : NULL;
    return fabric != NULL && atomic_load(&fabric->offers[fabric_own_port()]) != 0;
}

/* Asking the broker, and the fabric's table that it shares. */
#include "internal.h"
#include "parts.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_US 100000              /* for an answer; then the broker is left alone for PAUSE_NS */
#define PAUSE_NS 1000000000u
#define OVERFLOW_UID 65534u             /* root outside, as seen from a container with users of its own */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int broker = -1;
static uint64_t not_before;
static _Atomic(const struct vn_table *) table;   /* never moves: others may read it at any time */
static _Atomic uint32_t own_port;

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
    if (reply == NULL)
        return true;
    ssize_t bytes = message_receive(broker, reply, sizeof(*reply), got, got_count, 0);
    if (bytes == sizeof(*reply) && reply->version == VN_SOCKETS_VERSION)
        return true;
    if (bytes > 0 || (bytes < 0 && errno == EAGAIN))   /* it is of another version, or too slow */
        not_before = now_ns() + PAUSE_NS;
    close_all(got, *got_count);
    *got_count = 0;
    return false;
}

static void take_table(int fd) {
    struct stat status;
    if (fstat(fd, &status) != 0 || status.st_size < (off_t)sizeof(struct vn_table))
        return;
    int seals = real_fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return;
    const struct vn_table *place = mmap(NULL, sizeof(*place), PROT_READ, MAP_SHARED, fd, 0);
    if (place == MAP_FAILED)
        return;
    const struct vn_table *old = atomic_load(&table);
    if (place->magic != VN_TABLE_MAGIC || place->version != VN_SOCKETS_VERSION)
        munmap((void *)place, sizeof(*place));
    else if (old == NULL)
        atomic_store(&table, place);
    else   /* to the old one's place, where others may be reading */
        mremap((void *)place, sizeof(*place), sizeof(*place), MREMAP_MAYMOVE | MREMAP_FIXED, (void *)old);
}

/* The name may be another program's that was there first: a broker is root's, or our own user's (in tests). */
static bool is_trusted(int fd) {
    struct ucred peer;
    socklen_t length = sizeof(peer);
    return real_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid() || peer.uid == OVERFLOW_UID);
}

/* With the mutex: a connection to the broker, with the table, or false. */
static bool reach(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct timeval patience = {0, PATIENCE_US};
    struct vn_reply reply;
    int fds[VN_MOST_FDS], count;
    size_t length = strlen(vn_settings.broker);
    if (broker >= 0)
        return true;
    if (now_ns() < not_before || length + 1 >= sizeof(name.sun_path))
        return false;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    memcpy(name.sun_path + 1, vn_settings.broker, length);
    real_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    real_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (real_connect(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) != 0 ||
        !is_trusted(fd)) {
        real_close(fd);
        return false;
    }
    broker = hide(fd);
    if (broker < 0)
        return false;
    if (!ask(VN_HELLO, NULL, NULL, NULL, 0, &reply, fds, &count)) {
        hang_up();
        return false;
    }
    own_port = reply.port < VN_TABLE_PORTS ? reply.port : 0;
    if (reply.why == VN_WHY_direct && count == 1)
        take_table(fds[0]);
    close_all(fds, count);
    return true;
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

/* The port number of the partition with this address; -1 for none. */
static int partition_of(const struct vn_table *fabric, const struct vn_address *address) {
    for (int tries = 0; tries < 100; tries++) {
        uint32_t sequence = atomic_load_explicit(&fabric->sequence, memory_order_acquire);
        int found = -1;
        uint32_t count = fabric->count < VN_TABLE_ENTRIES ? fabric->count : VN_TABLE_ENTRIES;
        for (uint32_t i = 0; i < count && found < 0; i++)
            if (fabric->entries[i].address.family == address->family &&
                memcmp(fabric->entries[i].address.ip, address->ip, sizeof(address->ip)) == 0)
                found = (int)fabric->entries[i].port;
        atomic_thread_fence(memory_order_acquire);
        if (!(sequence & 1) && sequence == atomic_load_explicit(&fabric->sequence, memory_order_relaxed))
            return found;
    }
    return -1;
}

static bool is_loopback(const struct vn_address *address) {
    static const uint8_t one[16] = {[15] = 1};
    return address->family == AF_INET ? address->ip[0] == 127 : memcmp(address->ip, one, sizeof(one)) == 0;
}

/* Whether the fabric may have the target: a look in the namespace's names, so that most programs never ask the broker. */
static bool is_near(const struct vn_address *target) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const uint8_t *ip = target->ip;
    int length = target->family == AF_INET
                     ? snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, VN_NEAR_NAME, ip[0], ip[1])
                     : snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, VN_NEAR_NAME6, ip[0], ip[1], ip[2], ip[3]);
    int saved = errno, fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool near = fd >= 0 && real_connect(fd, (struct sockaddr *)&name,
                                        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) == 0;
    if (fd >= 0)
        real_close(fd);
    errno = saved;
    return near;
}

/* Whether the broker has gone (a new one may be there); a look costs a system call. */
static bool has_gone(void) {
    char byte;
    ssize_t got = real_recv(broker, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

static const struct vn_table *fabric_table(bool look) {
    int saved = errno;
    if (table == NULL || look) {
        pthread_mutex_lock(&mutex);
        if (broker >= 0 && look && has_gone())
            hang_up();
        bool reached = reach();
        pthread_mutex_unlock(&mutex);
        if (!reached && look) {
            errno = saved;
            return NULL;
        }
    }
    errno = saved;
    return atomic_load(&table);
}

enum vn_why broker_find(const struct vn_address *target) {
    if (is_loopback(target) && !vn_settings.loopback)
        return VN_WHY_not_a_partition;
    if (atomic_load(&table) == NULL && !is_loopback(target) && !is_near(target))
        return VN_WHY_not_a_partition;
    const struct vn_table *fabric = fabric_table(false);
    if (fabric == NULL)
        return VN_WHY_no_broker;
    if (is_loopback(target))
        return VN_WHY_direct;
    int port = partition_of(fabric, target);
    if (port < 0 || ((uint32_t)port == own_port && !vn_settings.loopback))
        return VN_WHY_not_a_partition;
    return VN_WHY_direct;
}

bool broker_has_offers(void) {
    const struct vn_table *fabric = fabric_table(true);
    return fabric != NULL && atomic_load(&fabric->offers[own_port]) != 0;
}

uint64_t broker_epoch(void) {
    const struct vn_table *fabric = atomic_load(&table);
    return fabric != NULL ? atomic_load(&fabric->epoch) : 0;
}

/* Which addresses are partitions: names in the namespace (near.c), the broker's window, and the table that it shares. */
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

#define OVERFLOW_UID 65534u             /* root outside, as seen from a container with users of its own */

static _Atomic(const struct vn_table *) table;   /* never moves: others may read it at any time */
static _Atomic uint32_t own_port;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;   /* to take a table */
static _Atomic uint64_t not_before;              /* the window is left alone until then */

void fabric_after_fork(void) {
    pthread_mutex_init(&mutex, NULL);
}

const struct vn_table *fabric_table(void) {
    return atomic_load(&table);
}

uint32_t fabric_own_port(void) {
    return own_port;
}

uint64_t broker_epoch(void) {
    const struct vn_table *fabric = fabric_table();
    return fabric != NULL ? atomic_load(&fabric->epoch) : 0;
}

static void map_table(int fd) {
    static dev_t device;
    static ino_t inode;
    struct stat status;
    if (fstat(fd, &status) != 0 || status.st_size < (off_t)sizeof(struct vn_table))
        return;
    const struct vn_table *old = atomic_load(&table);
    if (old != NULL && status.st_dev == device && status.st_ino == inode)
        return;   /* it is that one, whose number can't be another's while we have it */
    int seals = real_fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return;
    const struct vn_table *place = mmap(NULL, sizeof(*place), PROT_READ, MAP_SHARED, fd, 0);
    if (place == MAP_FAILED)
        return;
    if (place->magic != VN_TABLE_MAGIC || place->version != VN_SOCKETS_VERSION) {
        munmap((void *)place, sizeof(*place));
        return;
    }
    if (old == NULL)
        atomic_store(&table, place);
    else   /* to the old one's place, where others may be reading */
        mremap((void *)place, sizeof(*place), sizeof(*place), MREMAP_MAYMOVE | MREMAP_FIXED, (void *)old);
    device = status.st_dev;
    inode = status.st_ino;
}

void fabric_learn(const struct vn_reply *reply, int *fds, int count) {
    pthread_mutex_lock(&mutex);
    own_port = reply->port < VN_TABLE_PORTS ? reply->port : 0;
    if (count == 1)
        map_table(fds[0]);
    pthread_mutex_unlock(&mutex);
    close_all(fds, count);
}

socklen_t abstract_name(struct sockaddr_un *name, const char *text, const char *more) {
    size_t length = strlen(text), rest = strlen(more);
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (length + rest + 1 >= sizeof(name->sun_path))
        return 0;
    memcpy(name->sun_path + 1, text, length);
    memcpy(name->sun_path + 1 + length, more, rest);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length + rest);
}

/* A broker is root's, or our own user's (in tests): others may have its name. */
static bool is_trusted(int fd) {
    struct ucred peer;
    socklen_t length = sizeof(peer);
    return real_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid() || peer.uid == OVERFLOW_UID);
}

int broker_call(const char *which, int flags) {
    struct sockaddr_un name;
    struct timeval patience = {0, VN_PATIENCE_US};
    socklen_t length = abstract_name(&name, vn_settings.broker, which);
    int fd = length != 0 ? socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0) : -1;
    if (fd < 0)
        return -1;
    if (!(flags & SOCK_NONBLOCK)) {
        real_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        real_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    }
    if (real_connect(fd, (struct sockaddr *)&name, length) == 0 && is_trusted(fd))
        return fd;
    real_close(fd);
    return -1;
}

static bool wait_for_answer(int fd) {
    struct pollfd answer = {fd, POLLIN, 0};
    uint64_t now = now_ns(), deadline = now + VN_PATIENCE_US * 1000ull;
    int ready = 0;
    while (now < deadline && ((ready = real_poll(&answer, 1, (int)((deadline - now) / 1000000 + 1))) < 0 && errno == EINTR))
        now = now_ns();
    if (ready <= 0)
        not_before = now_ns() + VN_PAUSE_NS;
    return ready > 0;
}

/* Asks at the window; false when it is not there. On the way the table is taken. */
static bool ask(const struct vn_address *target, enum vn_why *why) {
    struct vn_request request = {.version = VN_SOCKETS_VERSION, .op = VN_ASK, .target = *target};
    struct vn_reply reply;
    int fds[VN_MOST_FDS], count;
    int fd = now_ns() >= not_before ? broker_call(VN_WINDOW_NAME, SOCK_NONBLOCK) : -1;
    if (fd < 0)
        return false;
    bool answered = message_send(fd, &request, sizeof(request), NULL, 0, MSG_DONTWAIT) && wait_for_answer(fd);
    ssize_t got = answered ? message_receive(fd, &reply, sizeof(reply), fds, &count, MSG_DONTWAIT) : -1;
    real_close(fd);
    if (got < 0)
        return false;
    if (got != sizeof(reply) || reply.version != VN_SOCKETS_VERSION || reply.why == VN_WHY_unsupported) {
        not_before = now_ns() + VN_PAUSE_NS;
        close_all(fds, count);
        return false;
    }
    *why = reply.why;
    fabric_learn(&reply, fds, count);
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

/* Whether to make sure that the table is still written: the broker that shared it may have been replaced. */
static bool is_due(void) {
    static _Atomic uint64_t next;
    uint64_t now = now_ns();
    if (now < next)
        return false;
    next = now + VN_PAUSE_NS;
    return true;
}

static enum vn_why find(const struct vn_address *target) {
    enum vn_why why = VN_WHY_direct;
    enum nearness nearness = is_loopback(target) ? VN_NEAR : VN_UNKNOWN;   /* which has no name */
    bool asked = false;
    if (door_is_none(target))
        return VN_WHY_no_provider;
    if (fabric_table() == NULL) {
        if (nearness == VN_UNKNOWN && (nearness = near_look(target)) != VN_NEAR)
            return nearness == VN_FAR ? VN_WHY_not_a_partition : VN_WHY_no_provider;
        asked = ask(target, &why);
        if (!asked && !broker_hello())
            return VN_WHY_no_broker;
    }
    const struct vn_table *fabric = fabric_table();
    if (fabric == NULL)
        return VN_WHY_no_broker;
    int port = is_loopback(target) ? (int)own_port : partition_of(fabric, target);
    if (port < 0 && !asked && is_due() && near_look(target) != VN_FAR && (asked = ask(target, &why)))
        port = partition_of(fabric, target);
    if (port < 0 || ((uint32_t)port == own_port && !vn_settings.loopback))
        return VN_WHY_not_a_partition;
    if (!asked && !door_was_open(target)) {   /* where there was a provider, there will be one */
        if (nearness == VN_UNKNOWN && near_look(target) == VN_SILENT)
            return VN_WHY_no_provider;
        ask(target, &why);
    }
    return why == VN_WHY_no_provider ? why : VN_WHY_direct;
}

enum vn_why broker_find(const struct vn_address *target) {
    int saved = errno;
    if (is_loopback(target) && !vn_settings.loopback)
        return VN_WHY_not_a_partition;
    enum vn_why why = find(target);
    errno = saved;
    return why;
}

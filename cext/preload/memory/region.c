/* The halves of connections: made, judged, mapped; and the connection objects over them. */
#include "internal.h"
#include "parts.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS_NEEDED (F_SEAL_SHRINK | F_SEAL_GROW)

/* Room for one half more: who has made its own must be able to map the other's, or the connection could not be plain
 * any more when memory ends in between. */
static _Atomic(void *) spare;

static _Atomic uint64_t device;   /* of all halves; 0 before the first */

static bool have_spare(void) {
    void *none = NULL;
    if (atomic_load(&spare) != NULL)
        return true;
    void *place = mmap(NULL, VN_SMALL_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        return false;
    if (!atomic_compare_exchange_strong(&spare, &none, place))
        munmap(place, VN_SMALL_BYTES);
    return true;
}

static void *map_into_spare(int memfd) {
    void *place = atomic_exchange(&spare, NULL);
    if (place == NULL)
        return MAP_FAILED;
    void *half = mmap(place, VN_SMALL_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, memfd, 0);
    if (half == MAP_FAILED)
        munmap(place, VN_SMALL_BYTES);
    return half;
}

void half_begin(struct vn_half *half, const struct vn_address *local, const struct vn_address *remote, bool accepted) {
    half->pid = vn_pid;
    half->accepted = accepted;
    half->local = *local;
    half->remote = *remote;
    strncpy(half->program, program_invocation_short_name, sizeof(half->program) - 1);
    _Atomic uint64_t *wide[] = {&half->head, &half->origin, &half->tail, &half->wakeups, &half->sleeps, &half->wants,
                                &half->rung};
    _Atomic uint32_t *narrow[] = {&half->state, &half->forked, &half->read_lock, &half->write_lock,
                                  &half->send_buffer, &half->receive_buffer, &half->mode,
                                  &half->has_large};
    for (unsigned i = 0; i < sizeof(wide) / sizeof(*wide); i++)
        atomic_store_explicit(wide[i], 0, memory_order_relaxed);
    for (unsigned i = 0; i < sizeof(narrow) / sizeof(*narrow); i++)
        atomic_store_explicit(narrow[i], 0, memory_order_relaxed);
}

bool file_may_have(uint64_t bytes) {
    struct rlimit most;
    return getrlimit(RLIMIT_FSIZE, &most) != 0 || bytes <= most.rlim_cur;
}

static int make_once(struct vn_half **half, const struct vn_address *local, const struct vn_address *remote, bool accepted) {
    int fd = memfd_create("vnicd-half", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    bool room = have_spare();
    struct stat status;
    if (device == 0 && fstat(fd, &status) == 0)
        device = status.st_dev;
    struct vn_half *place = MAP_FAILED;
    if (room && file_may_have(VN_HALF_BYTES) && ftruncate(fd, VN_HALF_BYTES) == 0)
        place = mmap(NULL, VN_SMALL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (place == MAP_FAILED || real_fcntl(fd, F_ADD_SEALS, SEALS_NEEDED | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0) {
        if (place != MAP_FAILED)
            munmap(place, VN_SMALL_BYTES);
        real_close(fd);
        return -1;
    }
    place->version = VN_SOCKETS_VERSION;
    place->magic = VN_HALF_MAGIC;
    place->use = 1;
    half_begin(place, local, remote, accepted);
    *half = place;
    return fd;
}

const struct vn_half *half_map(int memfd) {
    struct stat status;
    int seals = real_fcntl(memfd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS_NEEDED) != SEALS_NEEDED)   /* or its maker could cut it short under us: SIGBUS */
        return NULL;
    if (fstat(memfd, &status) != 0 || status.st_size != VN_HALF_BYTES)
        return NULL;
    const struct vn_half *half = mmap(NULL, VN_SMALL_BYTES, PROT_READ, MAP_SHARED, memfd, 0);
    if (half == MAP_FAILED && (half = map_into_spare(memfd)) == MAP_FAILED)
        return NULL;
    if (half->magic != VN_HALF_MAGIC || half->version != VN_SOCKETS_VERSION) {
        half_unmap(half);
        return NULL;
    }
    return half;
}

int half_make(struct vn_half **half, const struct vn_address *local, const struct vn_address *remote, bool accepted) {
    int fd = make_once(half, local, remote, accepted);
    return fd < 0 && pool_empty() ? make_once(half, local, remote, accepted) : fd;
}

/* Only what nobody else can make has a number here: a file system that a stranger serves answers what he likes, or never. */
uint64_t half_inode(int memfd) {
    struct stat status;
    int seals = real_fcntl(memfd, F_GET_SEALS);
    bool is_one = seals >= 0 && (seals & SEALS_NEEDED) == SEALS_NEEDED && fstat(memfd, &status) == 0;
    return is_one && status.st_dev == device ? status.st_ino : 0;
}

bool half_answered(struct conn *conn) {
    const struct vn_half *peer = conn->pair.peer;
    int before = VN_OFFERED;
    if (peer == NULL || conn->phase != VN_OFFERED ||
        atomic_load_explicit(&peer->use, memory_order_acquire) != conn->own->use)
        return false;
    conn->peer = peer;
    return atomic_compare_exchange_strong(&conn->phase, &before, VN_DIRECT);
}

void half_unmap(const struct vn_half *half) {
    if (half != NULL)
        munmap((void *)half, VN_SMALL_BYTES);
}

static void conn_destroy(struct entry *entry) {
    struct conn *conn = (struct conn *)entry;
    int saved = errno;
    if (conn->kept >= 0)
        hidden_close(conn->kept);
    if (conn->pair.peer != conn->peer)
        half_unmap(conn->pair.peer);
    large_close(conn);
    if (!pool_keep(conn)) {
        half_unmap(conn->peer);
        half_unmap(conn->own);
        pool_close(&conn->pair);
    }
    free(conn);
    errno = saved;
}

struct conn *conn_new(struct vn_half *own, int kept) {
    struct conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL)
        return NULL;
    conn->entry = (struct entry){VN_CONN, 1, conn_destroy};
    conn->own = own;
    conn->kept = kept;
    conn->pair.memfd = -1;
    return conn;
}

bool address_from(struct vn_address *address, const struct sockaddr *name, socklen_t length) {
    memset(address, 0, sizeof(*address));
    if (name->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)name;
        address->family = AF_INET;
        address->port = ntohs(in->sin_port);
        memcpy(address->ip, &in->sin_addr, 4);
        return true;
    }
    if (name->sa_family == AF_INET6 && length >= offsetof(struct sockaddr_in6, sin6_scope_id)) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)name;
        address->port = ntohs(in6->sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            address->family = AF_INET;
            memcpy(address->ip, &in6->sin6_addr.s6_addr[12], 4);
            return true;
        }
        address->family = AF_INET6;
        memcpy(address->ip, &in6->sin6_addr, 16);
        if (length >= sizeof(*in6))
            address->scope = in6->sin6_scope_id;
        return true;
    }
    return false;
}

socklen_t address_to(const struct vn_address *address, int family, struct sockaddr *name, socklen_t room) {
    union {
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } to;
    socklen_t length = sizeof(to.in);
    memset(&to, 0, sizeof(to));
    if (family == AF_INET) {
        to.in.sin_family = AF_INET;
        to.in.sin_port = htons(address->port);
        memcpy(&to.in.sin_addr, address->ip, 4);
    } else {
        length = sizeof(to.in6);
        to.in6.sin6_family = AF_INET6;
        to.in6.sin6_port = htons(address->port);
        to.in6.sin6_scope_id = address->scope;
        memcpy(&to.in6.sin6_addr, address->ip, 16);
        if (address->family == AF_INET) {
            memset(&to.in6.sin6_addr, 0, 16);
            memset(&to.in6.sin6_addr.s6_addr[10], 0xff, 2);
            memcpy(&to.in6.sin6_addr.s6_addr[12], address->ip, 4);
        }
    }
    if (name != NULL)
        memcpy(name, &to, room < length ? room : length);
    return length;
}

bool address_same(const struct vn_address *a, const struct vn_address *b) {
    return a->family == b->family && a->port == b->port && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* connect, and what sockets begin with. */
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "base/settings.h"
#include "base/signals.h"
#include "base/sockaddr.h"
#include "discovery/policy.h"
#include "discovery/targets.h"
#include "fdtable/hidden.h"
#include "fdtable/marks.h"
#include "handshake/fallback.h"
#include "handshake/offer.h"
#include "handshake/progress.h"
#include "hooks/numbers.h"
#include "memory/report.h"
#include "relay/relay.h"
#include "stream/doorbell.h"
#include "stream/ring.h"
#include "watch/watch.h"

/* connect(AF_UNSPEC): TCP drops the connection, and the socket can connect anew. */
static void drop(struct conn *conn) {
    if (conn_phase(conn) < CONN_DIRECT && progress_fall_back(conn, -1))
        return;
    bool is_over = conn->peer != NULL && atomic_load(&conn->own->state) & atomic_load(&conn->peer->state) & VN_FIN;
    atomic_fetch_or(&conn->own->state, is_over ? VN_CLOSED : VN_CLOSED | VN_RESET);
    atomic_store(&conn->dropped, true);
    conn_break(conn, ECONNRESET);
    if (!is_over) /* else both have said their last word, and no reset follows */
        doorbell_ring(conn);
    fallback_let_numbers_go(conn);
}

/* It was connected, and reset before the program has asked for the first time: TCP reports that as the connect's result. */
static bool has_failed(struct conn *conn, int fd, int *error) {
    progress_serve(conn, fd);
    if (conn_phase(conn) == CONN_DIRECT) {
        conn_has_ended(conn, fd);
        stream_absorb(conn);
    }
    if (conn_phase(conn) != CONN_BROKEN)
        return false;
    *error = conn_take_error(conn);
    return true;
}

static void forget_error(int fd) {
    socklen_t length = sizeof(int);
    int said;
    real_getsockopt(fd, SOL_SOCKET, SO_ERROR, &said, &length);
}

/* Then the socket can connect anew. */
static int give_up(struct conn *conn, int fd, int error) {
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    drop(conn);
    quiet_connect(fd, &none, sizeof(none));
    forget_error(fd); /* that was our doing */
    conn_release(conn);
    errno = error != 0 ? error : ECONNABORTED;
    return -1;
}

/* On a descriptor that is a connection already, whose reference it takes over. What TCP says of the handshake is the
 * kernel's to say. */
static int connect_again(struct conn *conn, int fd, const struct sockaddr *name, socklen_t length) {
    int failure;
    bool is_name = !is_bad(name) && length >= sizeof(sa_family_t) && length <= sizeof(struct sockaddr_storage);
    bool drops = is_name && name->sa_family == AF_UNSPEC;
    if (UNLIKELY(conn->disconnecting && is_name && !drops)) {
        conn_release(conn);
        errno = EINVAL;
        return -1;
    }
    enum phase phase = conn_phase(conn);
    bool heard = drops && phase == CONN_BROKEN && atomic_load(&conn->own->error) == 0;
    bool over = drops && phase == CONN_DIRECT && stream_is_closed(conn);
    if (drops)
        drop(conn);
    else if (conn->unreported && is_name && has_failed(conn, fd, &failure))
        return give_up(conn, fd, failure);
    int result = offer_connect_tcp(&conn, fd, name, length), error = errno;
    if (heard || over)
        forget_error(fd); /* a reset of its own, by TCP: the program has heard of the first, or there is none */
    if (conn == NULL)     /* it was dropped, or closed meanwhile */
        return result;
    progress_serve(conn, fd);
    /* TCP says it once, also after it was shut for reading */
    if (conn->unreported && (result == 0 || error == EISCONN)) {
        conn->unreported = false;
        result = 0;
        error = errno;
    } else if (result == 0 && !drops && (conn->own->shut_read || (conn->own->state & VN_FIN))) {
        /* as after a shutdown by TCP */
        result = -1;
        error = EISCONN;
    }
    conn_release(conn);
    errno = error;
    return result;
}

static int connect_kernel(int fd, const struct sockaddr *name, socklen_t length) {
    struct opening opening;
    handlers_open(&opening);
    int result = real_connect(fd, name, length);
    handlers_close(&opening);
    return result;
}

static int connect_new(int fd, const struct sockaddr *name, socklen_t length, const struct vn_address *target) {
    int family, saved = errno, result = OFFER_NOT_CONNECTED;
    enum vn_reason reason = policy_decide(target);
    /* stdio's numbers stay plain: see number_copied. */
    bool may_be = fd > STDERR_FILENO && fd < MAX_FD && !is_marked(fd, MARK_PLAIN | MARK_WATCHED);
    if (reason == VN_REASON_direct && !hidden_has_room(fd))
        reason = VN_REASON_no_descriptors;
    may_be = may_be && !(reason == VN_REASON_direct && (number_is_shared(fd) || process_is_borrowed()));
    if (reason == VN_REASON_direct && may_be && is_tcp(fd, &family)) {
        mark_clear(fd); /* it may have been settled once, see drop */
        reason = offer_connect(fd, name, length, family, target, &result);
    } else if (reason == VN_REASON_direct) {
        reason = is_marked(fd, MARK_PLAIN) ? VN_REASON_option : VN_REASON_unsupported;
    }
    int error = errno;
    report(reason, target, fd);
    errno = saved;
    if (result == OFFER_NOT_CONNECTED) {
        result = connect_kernel(fd, name, length);
        if (result == 0 || errno == EINPROGRESS)
            mark_set(fd, MARK_SETTLED);
        if (result == 0 && reason == VN_REASON_no_library && targets_lookup(target) == TARGET_UNKNOWN)
            targets_learn(target, TARGET_SILENT);
        return result;
    }
    errno = result != 0 ? error : saved;
    return result;
}

EXPORT int connect(int fd, const struct sockaddr *name, socklen_t length) {
    struct vn_address target;
    READY();
    if (UNLIKELY(settings.off))
        return real_connect(fd, name, length);
    HANDLERS_WAIT();
    struct conn *conn = conn_hold_checked(fd);
    if (conn != NULL)
        return connect_again(conn, fd, name, length);
    bool may_be = !is_bad(name) && length >= sizeof(sa_family_t) && address_from(&target, name, length);
    int result = may_be ? connect_new(fd, name, length, &target) : connect_kernel(fd, name, length);
    if (UNLIKELY(result != 0 && (errno == ECONNREFUSED || errno == EINVAL))) {
        struct vn_address local, remote;
        errno = relay_names(fd, &local, &remote) ? EISCONN : errno; /* a Unix socket has other words for it */
    }
    return result;
}

EXPORT int __connect(int fd, const struct sockaddr *name, socklen_t length) {
    return connect(fd, name, length);
}

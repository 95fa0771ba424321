/* Relays: a process of its own that stands between a direct connection and somebody without the library.
 *
 * Another image of the program (exec), or another process (SCM_RIGHTS), gets a plain Unix stream socket. Its name
 * tells a library which TCP addresses to answer with. The relay process is nobody's child that the program could
 * hear of: it has no exit signal, its parent ends at once, and it holds no descriptor but the three that it needs.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "fdtable/hidden.h"
#include "handshake/progress.h"
#include "memory/debug.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "watch/watch.h"

/* Not fork: that would run the program's handlers, and notify it of a child that it did not make. */
static pid_t clone_silent(void) {
    return (pid_t)real_syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L);
}

static void sort(int *numbers, int count) {
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count; j++)
            if (numbers[j] < numbers[i]) {
                int swap = numbers[i];
                numbers[i] = numbers[j];
                numbers[j] = swap;
            }
}

static void keep_only(int a, int b, int c) {
    int keep[3] = {a, b, c};
    unsigned from = 0;
    sort(keep, 3);
    for (int i = 0; i < 3; i++) {
        if (keep[i] < 0)
            continue;
        if ((unsigned)keep[i] > from)
            real_syscall(SYS_close_range, from, (unsigned)keep[i] - 1, 0);
        from = (unsigned)keep[i] + 1;
    }
    real_syscall(SYS_close_range, from, ~0u, 0);
}

/* The TCP socket stays open: for the far end's kernel, that is what says that somebody still has the connection. */
static void detach(struct conn *conn, int fd, int end) {
    setsid();
    if (chdir("/") != 0) {
        /* then it keeps a directory busy: no more than that */
    }
    keep_only(conn->doorbell, fd, end); /* here: the program goes on when this process has ended */
    pid_t pid = clone_silent();
    if (pid != 0)
        real_syscall(SYS_exit_group, pid < 0 ? 1 : 0);
    process_id = (pid_t)real_syscall(SYS_getpid);
    prctl(PR_SET_NAME, "vnicd-relay");
    relay_run(conn, fd, end);
}

static void copy_options(const struct conn *conn, int end, int fd) {
    const struct timeval past = {-1, 0};
    relay_copy_options(end, fd);
    if (conn->own->receive_timeout_ns == CONN_AT_ONCE_NS) /* which the kernel reports as none */
        real_setsockopt(end, SOL_SOCKET, SO_RCVTIMEO, &past, sizeof(past));
    if (conn->own->send_timeout_ns == CONN_AT_ONCE_NS)
        real_setsockopt(end, SOL_SOCKET, SO_SNDTIMEO, &past, sizeof(past));
}

int relay_start(struct conn *conn, int fd) {
    int pair[2], status = -1;
    sigset_t all, before;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    debug_relay(conn->serial, conn->own, fd);
    relay_give_name(pair[0], conn->own);
    copy_options(conn, pair[0], fd);
    atomic_store(&conn->own->forked, 1); /* who else has it must not call it closed, and must lock */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* the relay keeps them blocked: it ends with its two sides */
    pid_t pid = clone_silent();
    if (pid == 0)
        detach(conn, fd, pair[1]);
    while (pid > 0 && waitpid(pid, &status, __WCLONE) < 0 && errno == EINTR)
        continue;
    sigprocmask(SIG_SETMASK, &before, NULL);
    quiet_close(pair[1]);
    if (status != 0) {
        quiet_close(pair[0]);
        errno = ENOMEM;
        return -1;
    }
    if (conn_is_nonblocking(conn))
        real_fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK);
    return pair[0];
}

/* --------------------------------------------------------------------------------- in the program's table */

/* fd becomes a duplicate of `with`, with its own FD_CLOEXEC. */
static bool become(int fd, int with) {
    int flags = real_fcntl(fd, F_GETFD);
    return flags >= 0 && real_dup3(with, fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0) == fd;
}

static void hand_over(struct conn *conn, int fd, int end, int tcp) {
    bool last;
    watch_leave(fd);
    bool is_ours = conn_pin(conn, fd) == fd && become(fd, end);
    struct entry *entry = is_ours ? entry_clear(fd, &last) : NULL;
    conn_unpin(conn);
    if (entry != NULL) {
        relay_keep_options(fd, tcp);
        entry_release(entry);
    }
    watch_rejoin(fd);
}

int relay_replace(int fd) {
    struct conn *conn = conn_hold(fd);
    int result = 0, end = -1;
    if (conn == NULL)
        return 0;
    if (!conn_is_under(conn, fd)) { /* closed past the library: the pair would get its number */
        conn_release(conn);
        return 0;
    }
    if (progress_finish(conn, fd)) {
        end = relay_start(conn, fd);
        result = end >= 0 ? 0 : -1;
    }
    int tcp = end >= 0 ? hide_copy(fd) : -1;
    if (end >= 0) {
        for (int each = entry_descriptor(&conn->entry, 0); each >= 0; each = entry_descriptor(&conn->entry, each + 1))
            hand_over(conn, each, end, tcp);
        quiet_close(end);
    }
    if (tcp >= 0)
        hidden_close(tcp);
    int saved = errno;
    conn_release(conn);
    errno = saved;
    return result;
}

void relay_replace_all(void) {
    int saved = errno;
    if (process_is_borrowed())
        return;
    for (int fd = 0; fd <= atomic_load(&entry_highest); fd++)
        if (conn_of(fd) != NULL)
            relay_replace(fd);
    errno = saved;
}

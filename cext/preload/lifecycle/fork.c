/* What a fork changes: see fork.h. The order of the locks is in docs/design/locking.md. */
#include "lifecycle/fork.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/process.h"
#include "base/signals.h"
#include "discovery/client.h"
#include "discovery/table.h"
#include "discovery/targets.h"
#include "fdtable/marks.h"
#include "handshake/progress.h"
#include "lifecycle/copies.h"
#include "memory/report.h"
#include "stream/deaths.h"
#include "wait/sleeper.h"
#include "wait/stay.h"
#include "watch/registry.h"

_Atomic unsigned char *process_page;
pid_t process_id;

bool process_is_borrowed(void) {
    return (pid_t)syscall(SYS_getpid) != process_id;
}

/* Every connection is shared from now on; one that is not direct yet is settled, as only one of two processes would get
 * the other end's answer. */
static void share_connections(void) {
    for (int fd = 0; fd <= entry_highest; fd++) {
        struct conn *conn = conn_hold(fd);
        if (conn == NULL)
            continue;
        progress_finish(conn, fd);
        atomic_store(&conn->own->forked, 1);
        conn_release(conn);
    }
}

void lifecycle_fork_is_near(void) {
    int saved = errno;
    if (!process_is_borrowed()) {
        share_connections();
        marks_after_fork();
    }
    errno = saved;
}

static void before_fork(void) {
    share_connections();
    epoll_before_fork();
    targets_before_fork();
    broker_before_fork();
    table_before_fork();
    report_before_fork();
    stdio_before_fork();
}

static void after_fork_here(void) {
    marks_after_fork();
    stdio_after_fork();
    report_after_fork_here();
    table_after_fork_here();
    broker_after_fork_here();
    targets_after_fork_here();
    epoll_after_fork_here();
}

static void begin_anew(void) {
    process_id = getpid();
    atomic_store(process_page, 1);
    marks_after_fork();
    copies_begin_anew();
    report_after_fork();
    table_after_fork();
    broker_after_fork();
    targets_after_fork();
    epoll_after_fork();
    sleeper_after_fork();
    deaths_after_fork();
}

/* The numbers of threads count anew in the child, so connections must be watched anew. */
static void forget_sleepers(void) {
    for (int fd = 0; fd <= entry_highest; fd++) {
        struct conn *conn = conn_of(fd);
        if (conn == NULL)
            continue;
        atomic_store(&conn->sleeper, 0);
        atomic_store(&conn->watched_for_death, false);
        atomic_store(&conn->serving, false);
        atomic_store(&conn->pins, 0);
        atomic_store(&conn->own->forked, 1);
    }
}

/* The other threads' calls have no end in the child: what they held would keep connections that are closed here. */
static void forget_calls(void) {
    if (stay_is_inside()) /* a handler has forked: the call that it interrupted goes on here */
        return;
    for (int fd = 0; fd <= entry_highest; fd++) {
        struct conn *conn = conn_of(fd);
        if (conn == NULL)
            continue;
        atomic_store(&conn->blocked, 0);
        entry_keep_users(&conn->entry, (unsigned)atomic_load(&conn->watchers));
    }
}

static void after_fork(void) {
    stdio_after_fork();
    begin_anew();
    forget_sleepers();
    forget_calls();
    handlers_after_fork();
}

void fork_adopt(void) {
    begin_anew();
    forget_sleepers();
}

bool fork_init(void) {
    return pthread_atfork(before_fork, after_fork_here, after_fork) == 0;
}

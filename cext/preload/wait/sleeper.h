/* A thread's own place to sleep for connections.
 *
 * An epoll of the thread alone, in which it watches the doorbells of the connections that it sleeps for, edge-triggered
 * (why: stream/doorbell.c). What was watched once stays watched, so a thread that waits for the same connections again
 * pays nothing for it; the edge of a connection that it has no interest in any more costs it one look.
 */
#pragma once

#include <poll.h>
#include <signal.h>

#include "base/signals.h"
#include "stream/conn.h"

#define NAP_NS (20 * MILLISECOND_NS) /* the longest sleep of who can't be woken, as no descriptor is to be had */

struct sleeper;

struct sleeper *sleeper_mine(void);                    /* NULL: no descriptor is to be had, so sleeps must be naps */
int sleeper_descriptor(const struct sleeper *sleeper); /* readable when something has happened */

/* The connection's doorbell will end a sleep, and while TCP connects, its socket (fd); false: it can't be watched. */
bool sleeper_watch(struct sleeper *sleeper, struct conn *conn, int fd);

/* What happened to a connection that the thread watches. */
/* ended: the doorbell's other end is closed; tcp: its TCP socket has something */
struct wake {
    uint32_t serial;
    bool ended, tcp;
};
#define MOST_WAKES 16

/* Sleeps for timeout ns at most (FOR_EVER: without end). The number of wakes, 0 for the time-out, -1 and errno.
 * restarts: the call has no time-out, so TCP would make it anew after handlers that all have SA_RESTART. interrupted: 0;
 * or handlers have run in it, and EINTR or ERESTART is what TCP makes of that where there is nothing else. */
int sleeper_sleep(struct sleeper *sleeper, struct wake *wakes, uint64_t timeout, bool restarts, int *interrupted);
/* for a descriptor of the kernel's */
int sleeper_poll(int fd, short events, uint64_t timeout, bool restarts, int *interrupted);
int sleeper_nap(uint64_t most, bool restarts, int *interrupted); /* without being woken; NAP_NS at most */
int sleeper_ppoll(struct pollfd *fds, nfds_t count, uint64_t timeout, const sigset_t *mask,
                  enum interruption *interruption);
/* without sleeping: after its descriptor was readable */
int sleeper_collect(struct sleeper *sleeper, struct wake *wakes);

/* what a wake says of this connection; false: of another */
bool sleeper_heed(struct conn *conn, int fd, const struct wake *wake);

/* An end that a wake has reported for another connection must be reported again when the thread sleeps for that one. */
void sleeper_unheeded(struct sleeper *sleeper, const struct wake *wake);

struct timespec *timespec_of(uint64_t ns, struct timespec *room); /* NULL for FOR_EVER */

void sleeper_init(void);
void sleeper_after_fork(void);

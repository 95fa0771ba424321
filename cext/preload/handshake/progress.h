/* From connect to a direct connection: the TCP handshake, the other end's answer, and the way back when none comes. */
#pragma once

#include "stream/conn.h"

/* Does what is to be done for a connection that is not direct yet: takes the answer, sees that TCP has connected, falls
 * back when it is time. Without waiting, and cheap when there is nothing; safe in any thread at any time. fd is a number
 * that means it, as the caller knows it. */
void progress_serve(struct conn *conn, int fd);

/* when progress_serve must be called though nothing has come; 0: never */
uint64_t progress_due(const struct conn *conn);

/* Back to TCP, unless it is direct already: then false. Waits for the far end's decision, at most 0.1 s. */
bool progress_fall_back(struct conn *conn, int fd);

/* The TCP socket's descriptor had an event although nothing is to come there: see conn.h. */
void progress_look_at_tcp(struct conn *conn, int fd);

/* The accepting end takes the first bytes off its TCP socket, if they have come that way as well. With them in it, its death
 * would be a reset; so its first receives look again, as the bytes may have been on their way when it accepted. */
bool progress_take_nudge(struct conn *conn, int tcp);

#define NUDGE_LOOKS 4

static inline void progress_look_for_nudge(struct conn *conn, int tcp) {
    if (__builtin_expect(conn->nudge_looks == 0, 1))
        return;
    conn->nudge_looks--;
    progress_take_nudge(conn, tcp);
}

/* Before a sleep in which nobody looks at young connections: what they have written must not wait for that. */
void progress_before_sleep(void);

void progress_notify(struct conn *conn); /* wakes who sleeps for what has changed in this process: without locks */
void progress_settle_on(int fd);         /* it is direct: nothing more is read from its TCP socket */

/* Waits until it is direct (true) or plain: for a fork or an exec, after which two processes would wait for one answer. */
bool progress_finish(struct conn *conn, int fd);

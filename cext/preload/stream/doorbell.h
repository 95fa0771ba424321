/* The doorbell of a connection: how an end that sleeps is woken. Theory of operation: doorbell.c. */
#pragma once

#include "stream/conn.h"

void doorbell_ring(struct conn *conn);
/* VN_ARMED_DATA after writing, VN_ARMED_ROOM after reading */
void doorbell_ring_if_wanted(struct conn *conn, uint64_t wants);
void doorbell_ring_if_armed(struct conn *conn, uint64_t wants); /* the same, after a full fence of the caller's */

/* about to sleep for POLLIN and/or POLLOUT: look once more after it */
void doorbell_arm(struct conn *conn, unsigned events);
void doorbell_disarm(struct conn *conn, unsigned events); /* for each doorbell_arm */
void doorbell_keep_short(struct conn *conn); /* after a wake-up: what has piled up goes, but for one byte */

/* O_ASYNC: a signal for everything that comes. The doorbell gets the socket's owner and signal, and is rung for all. */
void doorbell_want_signals(struct conn *conn, int fd, bool wanted);

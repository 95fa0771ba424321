/* The connecting end: an offer to the far end beside the TCP handshake. */
#pragma once

#include <sys/socket.h>

#include "stream/conn.h"

#define OFFER_NOT_CONNECTED 1 /* *result: no connect was made yet */

/* Offers a direct connection and connects. VN_REASON_direct: fd means a connection now, and *result and errno are
 * connect's. Else why not; then *result is OFFER_NOT_CONNECTED, or connect's where that has been called. */
enum vn_reason offer_connect(int fd, const struct sockaddr *name, socklen_t length, int family,
                             const struct vn_address *target, int *result);

/* The kernel's connect, in which handlers run: one may jump out of it, so the connection is not held meanwhile. NULL in its
 * place: fd does not mean it any more. */
int offer_connect_tcp(struct conn **conn, int fd, const struct sockaddr *name, socklen_t length);

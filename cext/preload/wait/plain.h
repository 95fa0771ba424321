/* What a call does whose connection has gone back to TCP under it. */
#pragma once

#include <sys/uio.h>

#include "stream/conn.h"

/* Sends what is left of a write that has moved `total` bytes, as a program that waits counts on all of them to go, and
 * returns how many have gone with these. */
size_t plain_send_rest(const struct conn *conn, int fd, const struct iovec *iov, size_t count, int flags, size_t total);

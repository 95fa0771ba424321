/* Options of a relay's end, a Unix socket that its program takes for TCP. */
#pragma once

#include <sys/socket.h>

#include "base/common.h"

/* The end of a relay that begins, a Unix socket, gets the options of every socket that the TCP socket has. */
void relay_copy_options(int end, int tcp);

/* fd, which became a relay's end, keeps the options of the TCP socket that it was. */
void relay_keep_options(int fd, int tcp);

/* TCP's answer where fd is a relay's end and the option is TCP's or IP's: true, and *result and errno. */
bool relay_setsockopt(int fd, int level, int option, const void *value, socklen_t length, int *result);
bool relay_getsockopt(int fd, int level, int option, void *value, socklen_t *length, int *result);

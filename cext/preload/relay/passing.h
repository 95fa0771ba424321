/* Messages that may carry direct descriptors over a socket that is not direct: passing.c. */
#pragma once

#include <sys/socket.h>

ssize_t passing_sendmsg(int fd, const struct msghdr *message, int flags);
int passing_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);

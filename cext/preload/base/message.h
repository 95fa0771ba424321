/* Messages with descriptors over Unix sockets, as the broker and a doorbell carry them. */
#pragma once

#include "base/common.h"

#define VN_MOST_FDS 4

bool message_send(int socket, const void *data, size_t bytes, const int *fds, int count, int flags);
ssize_t message_receive(int socket, void *data, size_t room, int *fds, int *count, int flags);
/* At most VN_MOST_FDS descriptors. With MSG_PEEK, -1 and EMFILE when they found no room */
void close_all(const int *fds, int count); /* errno stays */

/* The end of a connection, as this process has it. */
#pragma once

#include "stream/conn.h"

/* No descriptor of this process means it any more; fd was the last, and is still open, or -1. Threads that sleep in a
 * blocking call on it keep it, as they would a TCP socket: then goodbye_last is to be called when the last has left. */
void goodbye(struct conn *conn, int fd);
void goodbye_last(struct conn *conn);

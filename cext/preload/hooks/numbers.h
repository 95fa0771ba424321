/* What becomes of a connection when the program's descriptors come, are copied and go. */
#pragma once

#include "stream/conn.h"

bool number_is_known(int fd);        /* it means something to the library, or once did */
void number_let_go(int fd);          /* fd is about to be closed: what it means is over */
int number_copied(int from, int fd); /* fd has become a duplicate of `from`; returns fd, or -1 as number_made */
int number_made(int fd); /* the kernel has given fd to something new; returns fd, or -1 and EMFILE: it is closed */

/* Whether a child of vfork asks, in which fd is another file than the connection. Cheap where none was seen. */
bool number_is_foreign(const struct conn *conn, int fd);

/* Whether another number, or another process, has the socket as well. It would not know that it is a connection. */
bool number_is_shared(int fd);

/* Whether the program waits for conn by instructions that the library cannot see: then fd is plain, or a relay's end,
 * from now on. Ask where the program goes on with a connection that it had to wait for. */
bool number_is_waited_unseen(struct conn *conn, int fd);

/* fd means a connection, and the kernel says that it is still that socket. What it has meant is given up otherwise. */
struct conn *conn_hold_checked(int fd);

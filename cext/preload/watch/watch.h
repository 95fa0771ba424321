/* What the epoll descriptors of the program watch, for those who change what a descriptor is. */
#pragma once

#include "stream/conn.h"

void watch_leave(int fd);    /* before fd becomes something else: out of the kernel's sets */
void watch_rejoin(int fd);   /* and after it: into them again, as what it is now */
void watch_first_wait(void); /* connections that the kernel has watched are watched by us from now on */

/* fd, which meant conn (NULL: anything else), was closed. last: no other number means conn. */
void watch_forget(int fd, struct conn *conn, bool last);

/* Something happened to conn without a doorbell to its epolls: a shutdown, an error, room that a write has taken. Call
 * it where conn->watchers is not 0, without locks. */
void watch_touch(struct conn *conn);
/* the same, and edge-triggered entries that wait for one of these events are notified of all that is true again */
void watch_touch_anew(struct conn *conn, uint32_t events);

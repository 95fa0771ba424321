/* Listeners: how the broker, and so every client, knows that the library listens at an address. */
#pragma once

#include "abi/socket_layout.h"
#include "fdtable/entry.h"

struct listener {
    struct entry entry;
    _Atomic int marker;              /* bound to the listener's name; -1: another process has it */
    _Atomic bool announced;          /* the broker knows of it */
    _Atomic uint64_t announce_after; /* and is not notified again before then */
    int family;
    struct vn_address address;
};

/* What a socket with a name needs to listen, before it does: whoever finds it listening finds out that it has the
 * library. One user: the caller. NULL when that is not for us. */
struct listener *listener_begin(int fd);
void listener_enter(int fd, struct listener *listener); /* fd listens: takes over the reference */
void listener_adopt(int fd); /* fd listens already (it was inherited), and is entered; errno stays */
/* makes sure that its name is bound and the broker knows; once a second */
void listener_announce(struct listener *listener);

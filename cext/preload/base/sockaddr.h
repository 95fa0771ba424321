/* Addresses: the program's sockaddr, and how the library and the broker write them. */
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include "abi/socket_layout.h"
#include "base/common.h"

bool address_from(struct vn_address *address, const struct sockaddr *name, socklen_t length); /* false: not IP */
socklen_t address_to(const struct vn_address *address, int family, struct sockaddr *name, socklen_t room);
bool address_same(const struct vn_address *a, const struct vn_address *b); /* also the port */
bool address_is_loopback(const struct vn_address *address);
bool address_is_any(const struct vn_address *address);
bool address_of_socket(int fd, struct vn_address *address, int *family); /* its own; false: it has none that is IP */

/* "text" and "more" as an abstract name; its length, 0 when it is too long. */
socklen_t abstract_name(struct sockaddr_un *name, const char *text, const char *more);

uint64_t socket_timeout_ns(int fd, int option); /* SO_RCVTIMEO or SO_SNDTIMEO; 0: none */
/* a Unix socket: who sends it descriptors gets an error, where the kernel can do that */
void refuse_descriptors(int fd);
bool is_unix(int fd); /* a Unix socket: closing one that a stranger sent can't take long */
bool is_tcp(int fd, int *family);

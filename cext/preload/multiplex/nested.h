/* Epolls in an epoll. */
#pragma once

#include "watch/registry.h"

int epoll_look_nested(struct epoll *epoll, struct epoll_event *out, int have, int room, bool remember);
void epoll_look_for_deaths_nested(struct epoll *epoll);
bool epoll_arm_nested(struct epoll *epoll, uint64_t *due);
int epoll_sift_nested(struct epoll *epoll, struct epoll_event *events, int count);   /* what is left of the kernel's events */
void epoll_serve_nested(struct epoll *epoll);

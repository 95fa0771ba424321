/* Epolls in an epoll. */
#pragma once

#include "multiplex/look.h"
#include "watch/registry.h"

/* looked: what the kernel has reported is left out; NULL: it was not asked, and what is reported is not remembered. */
int epoll_look_nested(struct epoll *epoll, struct epoll_event *out, int have, int room, const struct looked *looked);
void epoll_look_for_deaths_nested(struct epoll *epoll);
void epoll_collect_nested(struct epoll *epoll);
uint64_t epoll_arrivals_nested(struct epoll *epoll);
bool epoll_arm_nested(struct epoll *epoll, uint64_t *due);
int epoll_sift_nested(struct epoll *epoll, struct epoll_event *events, int count, struct looked *looked);
/* what is left of the kernel's events */
void epoll_serve_nested(struct epoll *epoll);

/* epoll_ctl, for sets with direct connections and without. */
#pragma once

#include <sys/epoll.h>

int control(int epfd, int op, int fd, struct epoll_event *event); /* as epoll_ctl */

/* epoll_wait and its variants. */
#pragma once

#include <signal.h>
#include <sys/epoll.h>
#include <time.h>

int epoll_wait_ms(int epfd, struct epoll_event *events, int room, int ms, const sigset_t *mask); /* as epoll_pwait */
int epoll_wait_fine(int epfd, struct epoll_event *events, int room, const struct timespec *time, const sigset_t *mask);
/* as epoll_pwait2; ENOSYS where the C library has none */

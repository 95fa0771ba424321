/* The C libraries that this library runs with: glibc from 2.17 on, and musl. See compat.c.
 *
 * setup.py puts this before each source file (gcc's -include), so the functions below replace those of newer glibc versions
 * wherever they are named: getrandom, fstat, dlsym, __libc_single_threaded, and what was in libpthread up to 2.33, which
 * not every program has. A function that the library exports, such as memfd_create, needs nothing here: inside the library
 * its name means the exported one.
 */
#pragma once

#include <features.h>
/* Since 2.38 glibc's headers bind strtol, strtoull and sscanf to functions that older ones lack. */
#undef __GLIBC_USE_C2X_STRTOL
#undef __GLIBC_USE_C23_STRTOL
#define __GLIBC_USE_C2X_STRTOL 0
#define __GLIBC_USE_C23_STRTOL 0

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

ssize_t vn_getrandom(void *data, size_t bytes, unsigned flags);
int vn_fstat(int fd, struct stat *status);
void *vn_dlsym(void *handle, const char *name);
int vn_once(pthread_once_t *once, void (*routine)(void));
int vn_key_create(pthread_key_t *key, void (*destructor)(void *value)); /* for one key of the library's */
int vn_setspecific(pthread_key_t key, const void *value);
void vn_testcancel(void);
int vn_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

#define getrandom vn_getrandom
#define fstat vn_fstat
#define dlsym vn_dlsym
#define pthread_once vn_once
#define pthread_key_create vn_key_create
#define pthread_setspecific vn_setspecific
#define pthread_sigmask sigprocmask /* on Linux both are about the calling thread alone */
#define pthread_testcancel vn_testcancel
#define pthread_atfork vn_atfork

/* glibc's own variable from 2.32 on; elsewhere a 0, so threads are always reckoned with. Its header becomes empty. */
#define _SYS_SINGLE_THREADED_H 1
extern const char *vn_single_threaded;
#define __libc_single_threaded (*vn_single_threaded)

void compat_init(void);                  /* real_init calls it */
void *compat_function(const char *name); /* in place of one that this C library lacks; or NULL */
bool is_other_library(void);             /* the program's C library is not the one that this was built for */

/* Exported functions whose prototypes musl lacks, and glibc before 2.34. */
ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags);
ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags);
int execveat(int directory, const char *path, char *const argv[], char *const envp[], int flags);
int close_range(unsigned first, unsigned last, int flags);
int epoll_pwait2(int epfd, struct epoll_event *events, int room, const struct timespec *time, const sigset_t *mask);

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

/* Only glibc's own headers call it, and the library has to load without it. */
extern void __chk_fail(void) __attribute__((weak, noreturn));

#ifdef __GLIBC__
typedef unsigned long ioctl_request;
typedef int mmsg_flags;
typedef __rlimit_resource_t rlimit_resource;
#else
typedef int ioctl_request;
typedef unsigned mmsg_flags;
typedef int rlimit_resource;
/* For musl's headers these are macros, but older musl has functions that programs refer to. */
#undef creat64
#undef open64
#undef openat64
#undef mkstemp64
#undef mkostemp64
#undef sendfile64
#endif

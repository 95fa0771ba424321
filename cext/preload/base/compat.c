/* What C libraries differ in: functions that older ones lack, and the versions that newer ones would ask for.
 *
 * A symbol version above GLIBC_2.17 would keep every program with an older glibc from starting. Functions that came
 * later are therefore system calls here, and dlsym, which moved into libc.so.6 in 2.34, is bound to its first version:
 * libdl.so.2, which this library is linked with, has it up to 2.33.
 */
#include "base/compat.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/real.h"

ssize_t vn_getrandom(void *data, size_t bytes, unsigned flags) {
    return real_syscall(SYS_getrandom, data, bytes, flags);
}

int vn_fstat(int fd, struct stat *status) {
    /* On these machines both C libraries have the kernel's own structure. */
#if defined(__x86_64__)
    _Static_assert(sizeof(struct stat) == 144, "the kernel's struct stat");
#elif defined(__aarch64__)
    _Static_assert(sizeof(struct stat) == 128, "the kernel's struct stat");
#else
#error "compare this machine's struct stat with the kernel's"
#endif
    return (int)real_syscall(SYS_fstat, fd, status);
}

/* As pthread_once, which is in libpthread before 2.34; who comes second waits. */
int vn_once(pthread_once_t *once, void (*routine)(void)) {
    enum { BEGUN = 1, DONE };
    int before = PTHREAD_ONCE_INIT;
    if (__atomic_load_n(once, __ATOMIC_ACQUIRE) == DONE)
        return 0;
    if (__atomic_compare_exchange_n(once, &before, BEGUN, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
        routine();
        __atomic_store_n(once, DONE, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(once, __ATOMIC_ACQUIRE) != DONE)
        sched_yield();
    return 0;
}

/* A process without libpthread has no threads, so the key can wait until there is one: it may be loaded later. */
static pthread_mutex_t key_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t *the_key;
static void (*the_destructor)(void *value);
static bool has_key;

static bool create_key(void) {
    int (*create)(pthread_key_t *, void (*)(void *));
    pthread_mutex_lock(&key_lock);
    if (!has_key) {
        *(void **)&create = vn_dlsym(RTLD_DEFAULT, "pthread_key_create");
        has_key = create != NULL && create(the_key, the_destructor) == 0;
    }
    pthread_mutex_unlock(&key_lock);
    return has_key;
}

int vn_key_create(pthread_key_t *key, void (*destructor)(void *value)) {
    the_key = key;
    the_destructor = destructor;
    create_key();
    return 0;
}

int vn_setspecific(pthread_key_t key, const void *value) {
    int (*set)(pthread_key_t, const void *);
    if (!create_key())
        return EAGAIN;
    key = *the_key; /* it may be newer than the caller's */
    *(void **)&set = vn_dlsym(RTLD_DEFAULT, "pthread_setspecific");
    return set(key, value);
}

/* ------------------------------------------------------------------------------- glibc, or musl in its place */

extern const char *gnu_get_libc_version(void) __attribute__((weak));

#ifdef __GLIBC__

#ifdef __aarch64__
#define FIRST "GLIBC_2.17"
#else
#define FIRST "GLIBC_2.2.5"
#endif
__asm__(".symver first_dlsym, dlsym@" FIRST);
__asm__(".symver first_testcancel, pthread_testcancel@" FIRST);
extern void *first_dlsym(void *handle, const char *name);
extern void first_testcancel(void) __attribute__((weak)); /* nobody is cancelled in a program without libpthread */

void vn_testcancel(void) {
    if (first_testcancel != NULL)
        first_testcancel();
}

void *vn_dlsym(void *handle, const char *name) {
    return first_dlsym(handle, name);
}

bool is_other_library(void) {
    return gnu_get_libc_version == NULL;
}

/* What pthread_atfork calls, which is linked statically; weak, as musl lacks it. */
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *object)
    __attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

int vn_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    return __register_atfork != NULL ? __register_atfork(prepare, parent, child, &__dso_handle) : ENOSYS;
}

#else

#undef dlsym
void *vn_dlsym(void *handle, const char *name) {
    return dlsym(handle, name);
}

bool is_other_library(void) {
    return gnu_get_libc_version != NULL;
}

#undef pthread_testcancel
void vn_testcancel(void) {
    pthread_testcancel();
}

#undef pthread_atfork
int vn_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    return pthread_atfork(prepare, parent, child);
}

#endif

static const char not_alone;
const char *vn_single_threaded = &not_alone;

void compat_init(void) {
    const char *alone = vn_dlsym(RTLD_DEFAULT, "__libc_single_threaded");
    if (alone != NULL)
        vn_single_threaded = alone;
}

/* -------------------------------------------------------------------------------- functions of newer versions */

static int own_execveat(int directory, const char *path, char *const argv[], char *const envp[], int flags) {
    return (int)real_syscall(SYS_execveat, directory, path, argv, envp, flags);
}

static int own_memfd_create(const char *name, unsigned flags) {
    return (int)real_syscall(SYS_memfd_create, name, flags);
}

static int own_vdprintf_chk(int fd, int flag, const char *format, va_list arguments) {
    (void)flag;
    return vdprintf(fd, format, arguments);
}

/* Since 1.2.4 musl has the functions whose names end in 64 only without it; on our machines both are the same. */
static void *without_64(const char *name) {
    char plain[32];
    size_t length = strlen(name);
    if (length < 2 || length - 2 >= sizeof(plain) || strcmp(name + length - 2, "64") != 0)
        return NULL;
    memcpy(plain, name, length - 2);
    plain[length - 2] = '\0';
    return vn_dlsym(RTLD_NEXT, plain);
}

void *compat_function(const char *name) {
    if (strcmp(name, "execveat") == 0)
        return (void *)own_execveat;
    if (strcmp(name, "memfd_create") == 0)
        return (void *)own_memfd_create;
    if (strcmp(name, "__vdprintf_chk") == 0)
        return (void *)own_vdprintf_chk;
    return without_64(name);
}

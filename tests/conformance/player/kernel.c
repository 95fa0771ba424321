/* System calls past the C library, so that what keeps the player in step is never changed by what it tests. */
#include "player.h"

#include <linux/futex.h>
#include <linux/tcp.h>
#include <sys/syscall.h>
#include <time.h>

long kernel(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#else
#error "kernel() knows x86_64 and aarch64"
#endif
}

/* Waits until the word is no longer `seen`, for a while (below 0: without a limit); it may return early. */
void futex_wait(uint32_t *word, uint32_t seen, long microseconds) {
    struct timespec limit = {microseconds / 1000000, microseconds % 1000000 * 1000};
    kernel(SYS_futex, (long)word, FUTEX_WAIT, seen, microseconds < 0 ? 0 : (long)&limit, 0, 0);
}

void futex_wake(uint32_t *word) {
    kernel(SYS_futex, (long)word, FUTEX_WAKE, INT32_MAX, 0, 0, 0);
}

/* Tells the conductor that something happened. */
void notify(void) {
    __atomic_add_fetch(&board->events, 1, __ATOMIC_SEQ_CST);
    futex_wake(&board->events);
}

/* The domain of the socket that the kernel has under this number, whatever a library says it is. */
int kernel_domain(int fd) {
    int domain = 0;
    socklen_t length = sizeof domain;
    long error = kernel(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, (long)&domain, (long)&length, 0);
    return error < 0 ? (int)error : domain;
}

/* Whether this is a TCP connection on which the kernel has neither sent bytes nor has any to send. */
bool kernel_has_sent_nothing(int fd) {
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    return kernel(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, (long)&info, (long)&length, 0) == 0 &&
           info.tcpi_bytes_sent == 0 && info.tcpi_notsent_bytes == 0;
}

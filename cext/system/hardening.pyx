"""What a daemon gives up for good: the system calls for it that Python does not have."""

from libc.errno cimport errno
from libc.string cimport strerror

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
    int PR_SET_NO_NEW_PRIVS
    int PR_SET_PDEATHSIG

cdef extern from "<signal.h>" nogil:
    int SIGKILL

cdef extern from "<sys/mman.h>" nogil:
    int mlockall(int flags)
    int MCL_CURRENT
    int MCL_FUTURE
    int MCL_ONFAULT


def no_new_privileges():
    """Neither this process nor what it may start can gain privileges by execve(2)."""
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(errno, strerror(errno).decode(), "no_new_privs")


def lock_memory():
    """Keep each page in memory once it was touched: a datapath must not wait for the swap. False when refused."""
    return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0


def die_with_parent():
    """Have this process killed when the thread that started it ends; a change of user takes that back."""
    if prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0):
        raise OSError(errno, strerror(errno).decode(), "PR_SET_PDEATHSIG")

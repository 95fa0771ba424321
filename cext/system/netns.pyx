"""Entering network namespaces: the system calls that Python 3.11 does not have."""

from libc.errno cimport EINVAL, errno
from libc.string cimport strerror
from posix.unistd cimport close

import os
import stat

cdef extern from "<sched.h>" nogil:
    int setns(int fd, int kind)
    int c_unshare "unshare"(int flags)
    int CLONE_NEWNET
    int CLONE_NEWNS
    int CLONE_FS

cdef extern from "<sys/mount.h>" nogil:
    int c_mount "mount"(const char *source, const char *target, const char *kind, unsigned long flags, const void *data)
    int c_umount2 "umount2"(const char *target, int flags)
    unsigned long MS_SLAVE
    unsigned long MS_SHARED
    unsigned long MS_REC
    unsigned long MS_BIND
    int MNT_DETACH


cdef check(int result, str what):
    if result:
        raise OSError(errno, strerror(errno).decode(), what)


def join(str path):
    """Move the calling thread into the network namespace at `path`; OSError when there is none."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe or a device could block, or do something
        raise OSError(EINVAL, "not a namespace", path)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        check(setns(fd, CLONE_NEWNET), path)
    finally:
        os.close(fd)


def join_mounts(str path):
    """Move the calling thread into the mount namespace at `path`; its current directory is its own from now on."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(c_unshare(CLONE_FS), "unshare")  # who shares those with other threads can't change the mounts alone
        check(setns(fd, CLONE_NEWNS), path)
    finally:
        os.close(fd)


def unshare():
    """Put the calling thread into a new network namespace."""
    check(c_unshare(CLONE_NEWNET), "unshare")


def bind(str source, str target):
    """Bind-mount a file on another, which keeps a namespace alive by name."""
    a, b = source.encode(), target.encode()
    check(c_mount(a, b, b"none", MS_BIND, NULL), target)


def share(str path):
    """Make `path` a shared mount (as `ip netns` does), so that namespaces made here are seen by everybody."""
    p = path.encode()
    if c_mount(b"", p, b"none", MS_SHARED | MS_REC, NULL):
        check(c_mount(p, p, b"none", MS_BIND | MS_REC, NULL), path)
        check(c_mount(b"", p, b"none", MS_SHARED | MS_REC, NULL), path)


def unbind(str target):
    """Undo bind()."""
    t = target.encode()
    check(c_umount2(t, MNT_DETACH), target)


def enter(str path):
    """Make the calling process (of one thread) a member of the namespace at `path`, as `ip netns exec` does.

    It gets mounts of its own, in which /sys shows the namespace's interfaces and the files of
    /etc/netns/NAME stand in for those in /etc. OSError names what failed.
    """
    join(path)
    check(c_unshare(CLONE_NEWNS), "unshare")
    check(c_mount(b"", b"/", b"none", MS_SLAVE | MS_REC, NULL), "/")
    c_umount2(b"/sys", MNT_DETACH)
    name = os.path.basename(path)
    check(c_mount(name.encode(), b"/sys", b"sysfs", 0, NULL), "/sys")
    overlay = f"/etc/netns/{name}"
    if os.path.isdir(overlay):
        for entry in os.listdir(overlay):
            if os.path.exists(f"/etc/{entry}"):
                bind(f"{overlay}/{entry}", f"/etc/{entry}")

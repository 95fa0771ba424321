"""Shared memory: memfds that one process may write and others can only read, mapped with mmap."""

from libc.errno cimport errno
from libc.stdint cimport uint16_t, uint64_t
from libc.string cimport strerror
from posix.unistd cimport close, ftruncate

from cpython.buffer cimport PyBuffer_FillInfo

from abi.abi cimport *
from datapath.state.ring cimport write_identity

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *at, size_t size, int protection, int flags, int fd, long offset)
    int munmap(void *at, size_t size)
    int memfd_create(const char *name, unsigned int flags)
    int PROT_READ
    int PROT_WRITE
    int MAP_SHARED
    int MAP_POPULATE
    void *MAP_FAILED
    unsigned int MFD_CLOEXEC
    unsigned int MFD_ALLOW_SEALING
    unsigned int MFD_HUGETLB

cdef extern from "<linux/memfd.h>" nogil:
    unsigned int MFD_HUGE_2MB

cdef extern from "<fcntl.h>" nogil:
    int fcntl(int fd, int command, ...)
    int F_ADD_SEALS
    int F_GET_SEALS
    int F_SEAL_SEAL
    int F_SEAL_SHRINK
    int F_SEAL_GROW
    int F_DUPFD_CLOEXEC

cdef extern from "<sys/stat.h>" nogil:
    struct stat:
        long st_size
        long st_blksize
    int fstat(int fd, stat *result)

cdef enum:
    SEAL_FUTURE_WRITE = 0x10     # F_SEAL_FUTURE_WRITE of linux/fcntl.h, which clashes with fcntl.h

HUGE_PAGE = 2 << 20
"""Bytes of the huge pages that vnicd uses."""

SMALL_PAGE = 4096

LINK_SIZE = VN_LINK_REGION
"""Least bytes of one side of a link."""


cdef int fixed_size_seals() noexcept nogil:
    return F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL


class Refused(ValueError):
    """A peer's memory is not what it must be."""


cdef class Region:
    """A mapped memfd: `fd`, `size` in bytes, `address`, `page_size`; a buffer (writable if it is ours).

    close() unmaps it and closes the fd; whoever uses the address must be done by then.
    """

    cdef readonly int fd
    cdef readonly size_t size
    cdef readonly size_t page_size
    cdef readonly bint writable
    cdef void *place

    def __cinit__(self):
        self.fd = -1
        self.place = NULL

    @property
    def address(self):
        if self.place == NULL:
            raise ValueError("the region is closed")
        return <size_t>self.place

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.place == NULL:
            raise BufferError("the region is closed")
        PyBuffer_FillInfo(buffer, self, self.place, <Py_ssize_t>self.size, not self.writable, flags)

    def close(self):
        """Unmap and close; twice is once."""
        self.close_fd()
        if self.place != NULL:
            munmap(self.place, self.size)
            self.place = NULL

    def close_fd(self):
        """Close the fd and keep the mapping, for memory whose fd nobody will need again."""
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1

    def __dealloc__(self):
        self.close()

    cdef _map(self, int protection, bint populate):
        cdef size_t size = self.size
        cdef int fd = self.fd, flags = MAP_SHARED | (MAP_POPULATE if populate else 0)
        cdef void *place
        with nogil:  # populating a huge page takes the kernel some 100 us
            place = mmap(NULL, size, protection, flags, fd, 0)
        if place == MAP_FAILED:
            raise os_error("mmap")
        self.place = place


cdef os_error(str what):
    return OSError(errno, f"{what}: {strerror(errno).decode()}")


cdef void take_sizes(Region region) except *:
    cdef stat facts
    if fstat(region.fd, &facts):
        raise os_error("fstat")
    region.size = facts.st_size
    region.page_size = facts.st_blksize


def create(size_t size, bint huge=False, bint one_writer=True, str name="vnicd", bint populate=True):
    """A new zeroed Region of at least `size` bytes that we may write; others can only read it if `one_writer`.

    With `huge` it lies on 2 MiB pages; OSError (ENOMEM) when there are none. Its size can't change. Without
    `populate` a page takes memory when it is first used.
    """
    cdef Region region = Region()
    cdef unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (MFD_HUGETLB | MFD_HUGE_2MB if huge else 0)
    cdef size_t page = HUGE_PAGE if huge else SMALL_PAGE
    cdef size_t whole = (size + page - 1) // page * page
    label = name.encode()
    region.fd = memfd_create(label, flags)
    if region.fd < 0 or ftruncate(region.fd, whole):
        raise os_error("memfd_create")
    take_sizes(region)
    region._map(PROT_READ | PROT_WRITE, populate)
    region.writable = True
    if fcntl(region.fd, F_ADD_SEALS, fixed_size_seals() | (SEAL_FUTURE_WRITE if one_writer else 0)):
        raise os_error("F_ADD_SEALS")
    return region


def create_link(int maker, int peer, uint64_t link_id, bint huge):
    """Our side of the link `link_id` from port `maker` to port `peer`, with its identity written.

    On small pages it takes no more memory than what has passed through it, up to the whole.
    """
    cdef Region region = create(VN_LINK_REGION, huge, True, f"vnicd-link-{maker}-{peer}", huge)
    write_identity(<vn_link_region *>region.place, <uint16_t>maker, <uint16_t>peer, link_id)
    return region


def check_shared(int fd, size_t least, bint one_writer=True):
    """Judge memory that somebody handed us, which stays the caller's; its size in bytes.

    Refused unless it is a memfd of at least `least` bytes (and not absurdly more) whose size is sealed and,
    if `one_writer`, that only its maker can write.
    """
    cdef stat facts
    cdef int seals = fcntl(fd, F_GET_SEALS), wanted = fixed_size_seals() | (SEAL_FUTURE_WRITE if one_writer else 0)
    if seals < 0:
        raise Refused("it is not a memfd")
    if seals & wanted != wanted:
        raise Refused(f"it is not sealed (seals {seals:#x})")
    if fstat(fd, &facts):
        raise os_error("fstat")
    if not least <= <size_t>facts.st_size <= least + 2 * <size_t>HUGE_PAGE:
        raise Refused(f"it has {facts.st_size} bytes")
    return facts.st_size


def open_shared(int fd, size_t least, bint writable=False, bint one_writer=True, bint populate=True):
    """Map memory that somebody handed us; the fd becomes the Region's. Refused as by check_shared().

    Without `populate` small pages take memory when they are first used; huge ones are there at once.
    """
    cdef Region region = Region()
    region.fd = fd
    check_shared(fd, least, one_writer)
    take_sizes(region)
    region._map(PROT_READ | PROT_WRITE if writable else PROT_READ, populate or region.page_size > SMALL_PAGE)
    region.writable = writable
    return region


def map_file(int fd, size_t size):
    """A writable Region of a file that lies in memory; the fd becomes the Region's. Refused unless it has this size."""
    cdef Region region = Region()
    region.fd = fd
    take_sizes(region)
    if region.size != size:
        raise Refused(f"it has {region.size} bytes")
    region._map(PROT_READ | PROT_WRITE, False)
    region.writable = True
    return region


def link_words(bytes page):
    """{name: value} of the first page of a link region: whose it is, cursors and wake words. ValueError if it is none."""
    cdef const vn_link_region *region = <const vn_link_region *><const char *>page
    if len(page) < <Py_ssize_t>sizeof(vn_link_region) or region.magic != VN_LINK_MAGIC or region.version != VN_VERSION:
        raise ValueError("this is no link region of this version")
    return {"maker": region.maker, "peer": region.peer, "link_id": region.link_id, "head": region.head,
            "want_room": region.want_room, "cpu": region.cpu, "tail": region.tail, "wake_at": region.wake_at}


def huge_pages_available():
    """Whether one 2 MiB page can be had right now."""
    try:
        create(HUGE_PAGE, True).close()
    except OSError:
        return False
    return True

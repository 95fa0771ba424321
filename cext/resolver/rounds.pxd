"""The rounds of the broker's resolver, under its mutex: who has come, who asks what, and who is done with."""

from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset
from posix.unistd cimport read, write

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, void *attributes)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int start, int flags)
    int EFD_CLOEXEC
    int EFD_NONBLOCK

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int poll, int op, int fd, epoll_event *event)
    int epoll_wait(int poll, epoll_event *events, int most, int timeout_ms)
    int EPOLL_CLOEXEC
    int EPOLL_CTL_ADD
    int EPOLL_CTL_DEL
    int EPOLLIN

cdef extern from "resolver/resolver.h" nogil:
    enum: VN_REASON_direct
    enum: VN_REASON_not_a_partition
    enum: VN_REASON_no_library
    enum: VN_REASON_unsupported
    enum: VN_SOCKETS_VERSION
    enum: VN_ASK
    struct vn_address:
        uint16_t family
        uint16_t port
        uint8_t *ip
    struct vn_request:
        uint32_t version
        uint32_t op
        vn_address target
    struct vn_reply:
        uint32_t version
        uint32_t reason
        uint32_t port
    ctypedef struct vn_resolver_entry:
        vn_address address
        uint32_t port
    int resolver_accept(int listener)
    int resolver_hear(int fd, vn_request *request)
    void resolver_answer(int fd, const vn_reply *reply, int table)
    void resolver_dismiss(int fd)
    bint resolver_is_loopback(const vn_address *address)
    bint resolver_has_listener(int probe, const vn_address *target)
    int RESOLVER_SILENT
    int RESOLVER_QUESTION

cdef enum:
    PLACES = 1024                # namespaces
    SILENT = 64                  # connections of a namespace that have asked nothing yet
    DONE = 128                   # connections of a namespace that wait to be closed before nobody is taken in
    RING_AT = 32                 # of them, before Python is woken at once
    BATCH_MS = 20                # how long fewer of them wait
    LISTENER = 0xffffffff        # in the place of a slot

cdef struct Place:
    int listener, probe
    uint32_t number              # of the partition
    bint paused
    int next                     # slot of the one who has been silent for longest
    int silent[SILENT]           # descriptors, -1: free
    int done_count
    int done[DONE + SILENT + 2]

cdef struct State:
    pthread_mutex_t mutex        # held for moments: nothing below it blocks
    int poll, command, events_fd, table
    bint stopping
    int gathered                 # done with, and Python was not notified
    int count                    # entries
    vn_resolver_entry *entries
    Place *places[PLACES]


cdef inline void ring(State *s) noexcept nogil:
    cdef uint64_t one = 1
    s.gathered = 0
    if write(s.events_fd, &one, sizeof(one)) < 0:
        pass                     # it is rung already


cdef inline int watch(State *s, int fd, uint64_t index, uint64_t slot) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN
    event.data.u64 = index << 32 | slot
    return epoll_ctl(s.poll, EPOLL_CTL_ADD, fd, &event)


cdef inline void unwatch(State *s, int fd) noexcept nogil:
    epoll_ctl(s.poll, EPOLL_CTL_DEL, fd, NULL)


cdef inline void pause(State *s, Place *place) noexcept nogil:
    if not place.paused:
        unwatch(s, place.listener)
        place.paused = True
    ring(s)


cdef inline void finish(State *s, Place *place, int fd) noexcept nogil:
    """The connection is over, and unwatched."""
    place.done[place.done_count] = fd
    place.done_count += 1
    s.gathered += 1
    if place.done_count >= DONE:
        pause(s, place)
    elif s.gathered >= RING_AT:
        ring(s)


cdef inline uint32_t judge(State *s, int index, const vn_address *target) noexcept nogil:
    """Whether a connection from the place to the target may be direct, as far as is known without its socket."""
    cdef int i, found = -1
    if target.family == 0:
        return VN_REASON_direct
    if resolver_is_loopback(target):
        found = index
    for i in range(s.count):
        if found == index:
            break
        if s.entries[i].address.family == target.family and memcmp(s.entries[i].address.ip, target.ip, 16) == 0:
            found = <int>s.entries[i].port
    if not 0 <= found < PLACES or s.places[found] == NULL:
        return VN_REASON_not_a_partition
    return VN_REASON_direct if resolver_has_listener(s.places[found].probe, target) else VN_REASON_no_library


cdef inline bint serve(State *s, int index, int fd) noexcept nogil:
    """False while there is no question yet."""
    cdef vn_request request
    cdef vn_reply reply
    cdef int heard = resolver_hear(fd, &request)
    if heard == RESOLVER_SILENT:
        return False
    if heard != RESOLVER_QUESTION or request.op != VN_ASK:
        resolver_dismiss(fd)
        return True
    memset(&reply, 0, sizeof(reply))
    reply.version = VN_SOCKETS_VERSION
    reply.port = s.places[index].number
    reply.reason = VN_REASON_unsupported
    if request.version == VN_SOCKETS_VERSION:
        reply.reason = judge(s, index, &request.target)
    resolver_answer(fd, &reply, s.table)
    return True


cdef inline void drop(State *s, Place *place, int slot) noexcept nogil:
    cdef int fd = place.silent[slot]
    if fd >= 0:
        place.silent[slot] = -1
        unwatch(s, fd)
        resolver_dismiss(fd)
        finish(s, place, fd)


cdef inline void admit(State *s, int index) noexcept nogil:
    cdef Place *place = s.places[index]
    cdef int slot = place.next
    cdef int fd = resolver_accept(place.listener)
    if fd < 0:
        if errno != EAGAIN and errno != EINTR and errno != ECONNABORTED:
            pause(s, place)
        return
    if serve(s, index, fd):
        finish(s, place, fd)
        return
    drop(s, place, slot)
    if watch(s, fd, index, slot):
        resolver_dismiss(fd)
        finish(s, place, fd)
        return
    place.silent[slot] = fd
    place.next = (slot + 1) % SILENT


cdef inline void handle(State *s, uint64_t what) noexcept nogil:
    """One event; it may be old news, of what has gone since."""
    cdef uint64_t index = what >> 32, slot = what & LISTENER
    cdef uint64_t counter
    cdef Place *place
    cdef int fd
    if index >= PLACES:
        if read(s.command, &counter, sizeof(counter)) < 0:
            pass
        return
    place = s.places[index]
    if place == NULL:
        return
    if slot == LISTENER:
        if not place.paused:
            admit(s, <int>index)
        return
    fd = place.silent[slot % SILENT]
    if fd >= 0 and serve(s, <int>index, fd):
        place.silent[slot % SILENT] = -1
        unwatch(s, fd)
        finish(s, place, fd)


cdef inline void rounds(State *s) noexcept nogil:
    cdef epoll_event event
    cdef int count
    while True:
        count = epoll_wait(s.poll, &event, 1, BATCH_MS if s.gathered else -1)
        if count < 0 and errno != EINTR:
            return
        pthread_mutex_lock(&s.mutex)
        if s.stopping:
            pthread_mutex_unlock(&s.mutex)
            return
        if count == 1:
            handle(s, event.data.u64)
        elif count == 0:
            ring(s)
        pthread_mutex_unlock(&s.mutex)

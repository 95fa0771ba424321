"""The broker's resolver: a thread that tells programs, without the GIL, whether a connection can't be direct.

A program connects, asks once (VN_ASK), is answered with the table and goes; so nothing is kept of it but a place
among the silent ones of its namespace until it has asked. Who comes when all those places are taken gets the place
of the one that has been silent for longest. Whatever was not one clean question is not answered.

The thread never closes what strangers may have sent something into, as that can block; nor does it take in
descriptors, so it looks at each message before it receives it. Connections that are done with are gathered for
Python, which has them closed. While too many of a namespace wait for that, nobody is taken in there.
"""

from libc.errno cimport errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy
from posix.unistd cimport close, read, write

from resolver.rounds cimport *


cdef list finished(Place *place):
    cdef int i
    return [place.done[i] for i in range(place.done_count)]


cdef class Resolver:
    """`table` is the descriptor that each answer carries. run() is for a thread of its own, all else for one other."""

    cdef State *s

    def __cinit__(self, int table):
        self.s = <State *>calloc(1, sizeof(State))
        if self.s == NULL:
            raise MemoryError
        pthread_mutex_init(&self.s.mutex, NULL)
        self.s.table = table
        self.s.poll = epoll_create1(EPOLL_CLOEXEC)
        self.s.command = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.s.events_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.s.events_fd < 0 or self.s.command < 0 or watch(self.s, self.s.command, PLACES, 0):
            raise OSError(errno, "no descriptors for the resolver")

    def __dealloc__(self):
        if self.s == NULL:
            return
        for fd in (self.s.poll, self.s.command, self.s.events_fd):
            if fd >= 0:
                close(fd)
        for index in range(PLACES):
            free(self.s.places[index])
        free(self.s.entries)
        free(self.s)

    @property
    def event_fd(self):
        """Readable when take() has something to report."""
        return self.s.events_fd

    def run(self):
        """Answer until stop()."""
        with nogil:
            rounds(self.s)

    def stop(self):
        cdef uint64_t one = 1
        self.lock()
        self.s.stopping = True
        pthread_mutex_unlock(&self.s.mutex)
        if write(self.s.command, &one, sizeof(one)) < 0:
            raise OSError(errno, "the resolver can't be stopped")

    cdef lock(self):
        with nogil:              # who has it may have been put aside by the scheduler
            pthread_mutex_lock(&self.s.mutex)

    cdef Place *place(self, int index) except NULL:
        if not 0 <= index < PLACES or self.s.places[index] == NULL:
            raise ValueError(f"there is no place {index}")
        return self.s.places[index]

    def open(self, int listener, int probe, int number):
        """Take in those who connect to a listener; its index. OSError when that is not to be."""
        cdef int index, slot
        cdef Place *place
        for index in range(PLACES):
            if self.s.places[index] == NULL:
                break
        else:
            raise OSError("all places are taken")
        place = <Place *>calloc(1, sizeof(Place))
        if place == NULL:
            raise MemoryError
        place.listener, place.probe, place.number = listener, probe, <uint32_t>number
        for slot in range(SILENT):
            place.silent[slot] = -1
        self.lock()
        self.s.places[index] = place
        if watch(self.s, listener, index, LISTENER):
            self.s.places[index] = NULL
        pthread_mutex_unlock(&self.s.mutex)
        if self.s.places[index] == NULL:
            free(place)
            raise OSError(errno, "the resolver can't be opened")
        return index

    def renumber(self, int index, int number):
        self.place(index).number = <uint32_t>number

    def settle(self, bytes entries):
        """Replace the addresses: entries of a table, with the index of the place for the number of the partition."""
        cdef size_t size = len(entries)
        cdef vn_resolver_entry *fresh = <vn_resolver_entry *>malloc(size + 1)
        if fresh == NULL:
            raise MemoryError
        memcpy(fresh, <const char *>entries, size)
        self.lock()
        fresh, self.s.entries = self.s.entries, fresh
        self.s.count = <int>(size // sizeof(vn_resolver_entry))
        pthread_mutex_unlock(&self.s.mutex)
        free(fresh)

    def close(self, int index):
        """Take nobody in any more; the connections that are to be closed. Listener and probe are the caller's."""
        cdef Place *place = self.place(index)
        cdef int slot
        self.lock()
        if not place.paused:
            unwatch(self.s, place.listener)
        for slot in range(SILENT):
            drop(self.s, place, slot)
        self.s.places[index] = NULL
        pthread_mutex_unlock(&self.s.mutex)
        fds = finished(place)
        free(place)
        return fds

    def take(self):
        """(index, connections that are to be closed, whether nobody is taken in until resume) of each place with news."""
        cdef uint64_t counter
        cdef Place *place
        if read(self.s.events_fd, &counter, sizeof(counter)) < 0:
            pass                 # it was not rung
        news = []
        self.lock()
        for index in range(PLACES):
            place = self.s.places[index]
            if place != NULL and (place.done_count or place.paused):
                news.append((index, finished(place), bool(place.paused)))
                place.done_count = 0
        self.s.gathered = 0
        pthread_mutex_unlock(&self.s.mutex)
        return news

    def pause(self, int index):
        """Take in nobody until resume()."""
        cdef Place *place = self.place(index)
        self.lock()
        pause(self.s, place)
        pthread_mutex_unlock(&self.s.mutex)

    def resume(self, int index):
        """Take in new ones again."""
        cdef Place *place = self.place(index)
        self.lock()
        if place.paused and watch(self.s, place.listener, index, LISTENER) == 0:
            place.paused = False
        pthread_mutex_unlock(&self.s.mutex)

"""The exchange of direct connections: a thread that takes offers and hands them over, without the GIL (exchange.h)."""

from libc.errno cimport errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef extern from "exchange/rounds.h" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    enum: EXCHANGE_NAMESPACES
    struct fd_reaper:
        pass
    struct exchange_namespace:
        int index
        int client_count
        int offers_made
        int offers_waiting
        fd_reaper *reaper
    struct exchange_entry:
        pass
    struct exchange:
        pthread_mutex_t mutex
        exchange_namespace **namespaces
    exchange *exchange_new(void *table, uint64_t timeout_ns, int most_offers, int most_fds)
    void exchange_free(exchange *s)
    void exchange_rounds(exchange *s)
    void exchange_stop(exchange *s)
    exchange_namespace *exchange_open(exchange *s, int listener, int probe, uint64_t cookie, uint32_t number)
    void exchange_close(exchange *s, exchange_namespace *home)
    exchange_entry *exchange_settle(exchange *s, exchange_entry *entries, int count)
    void exchange_renumber(exchange *s, exchange_namespace *home, uint32_t number)
    uint32_t fd_reaper_unclosed(const fd_reaper *reaper)


cdef class Exchange:
    """`table` is the memory of the table that programs map; an offer waits for `timeout` seconds.

    `most_offers` and `most_fds` bound what all namespaces have together. run() is for a thread of its own, all else
    for one other.
    """

    cdef exchange *s
    cdef object table            # stays mapped

    def __cinit__(self, table, double timeout, int most_offers, int most_fds):
        self.table = table
        self.s = exchange_new(<void *><size_t>table.address, <uint64_t>(timeout * 1e9), most_offers, most_fds)
        if self.s == NULL:
            raise OSError(errno, "the exchange can't be made")

    def __dealloc__(self):
        if self.s != NULL:
            exchange_free(self.s)

    def run(self):
        """Serve until stop()."""
        with nogil:
            exchange_rounds(self.s)

    def stop(self):
        with nogil:
            exchange_stop(self.s)

    cdef lock(self):
        with nogil:              # who has it may have been put aside by the scheduler
            pthread_mutex_lock(&self.s.mutex)

    cdef exchange_namespace *namespace(self, int index) except NULL:
        if not 0 <= index < EXCHANGE_NAMESPACES or self.s.namespaces[index] == NULL:
            raise ValueError(f"there is no namespace {index}")
        return self.s.namespaces[index]

    def open(self, int listener, int probe, uint64_t cookie, int number):
        """Serve those who connect to a listener in a namespace; its index. OSError when that is not to be."""
        cdef exchange_namespace *home
        self.lock()
        home = exchange_open(self.s, listener, probe, cookie, <uint32_t>number)
        pthread_mutex_unlock(&self.s.mutex)
        if home == NULL:
            raise OSError(errno, "the exchange can't be opened")
        return home.index

    def renumber(self, int index, int number):
        """The namespace goes by the number of another partition from now on."""
        cdef exchange_namespace *home = self.namespace(index)
        self.lock()
        exchange_renumber(self.s, home, <uint32_t>number)
        pthread_mutex_unlock(&self.s.mutex)

    def settle(self, bytes entries):
        """Replace the addresses: entries of a table, with the index of the namespace for the number of the partition."""
        cdef size_t count = len(entries) // sizeof(exchange_entry)
        cdef exchange_entry *fresh = <exchange_entry *>calloc(count + 1, sizeof(exchange_entry))
        if fresh == NULL:
            raise MemoryError
        memcpy(fresh, <const char *>entries, count * sizeof(exchange_entry))
        self.lock()
        fresh = exchange_settle(self.s, fresh, <int>count)
        pthread_mutex_unlock(&self.s.mutex)
        free(fresh)

    def close(self, int index):
        """Serve nobody there any more, and drop what was offered to its programs. Listener and probe are the caller's."""
        cdef exchange_namespace *home = self.namespace(index)
        self.lock()
        exchange_close(self.s, home)
        pthread_mutex_unlock(&self.s.mutex)

    def counts(self, int index):
        """Of a namespace: clients, offers that wait for it, offers that its programs have made, unclosed descriptors."""
        cdef exchange_namespace *home = self.namespace(index)
        self.lock()
        found = home.client_count, home.offers_waiting, home.offers_made, fd_reaper_unclosed(home.reaper)
        pthread_mutex_unlock(&self.s.mutex)
        return found

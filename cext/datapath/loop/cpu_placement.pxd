"""How a loop shares the CPUs: its time slice, and where it polls.

The slice. Since Linux 6.18 a task that yields forfeits the rest of its slice, and the default slice is 1.4 ms
and more: a loop that yields between two looks would come back after milliseconds when a program is busy. A loop
asks for the shortest slice there is, 0.1 ms (Linux 6.12; older kernels take no notice), which also lets it
preempt a program when it wakes.

The place. Loops that poll on one CPU share it by sched_yield and leave another CPU idle. For question and answer
that is bad: each message then wakes a program on the idle CPU, and in a virtual machine that takes longer than
all the rest of the way (25 us where this was measured, against 2 us for a program that gets a CPU from a polling
loop). With more to do than one small frame at a time it is good where there are but two CPUs: the ring stays in
one cache and the programs have the other CPU to themselves (23 Gbit/s against 15). The scheduler sees neither.
So each loop tells its peers where it polls, and the one with the higher port leaves the other's CPU, or follows
it there. It moves once and softly: the scheduler is free to move it again.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from datapath.state.state cimport *
from abi.abi cimport *

cdef extern from "<sched.h>" nogil:
    ctypedef struct cpu_set_t:
        pass
    int sched_getcpu()
    int sched_getaffinity(int pid, size_t size, cpu_set_t *mask)
    int sched_setaffinity(int pid, size_t size, const cpu_set_t *mask)
    void CPU_ZERO(cpu_set_t *mask)
    void CPU_SET(int cpu, cpu_set_t *mask)
    void CPU_CLR(int cpu, cpu_set_t *mask)
    int CPU_COUNT(const cpu_set_t *mask)

cdef extern from "<sys/resource.h>" nogil:
    int getpriority(int which, int who)
    int PRIO_PROCESS

cdef extern from "<sys/syscall.h>" nogil:
    long syscall(long number, ...)
    long SYS_sched_setattr

cdef enum:
    MOVE_PAUSE = 10_000_000      # ns between two moves
    BUSY_MEMORY = 2_000_000      # ns that a loop counts as busy after it was
    SLICE = 100_000              # ns, the least that the kernel grants

cdef struct SchedAttr:           # struct sched_attr of linux/sched/types.h, its first version
    uint32_t size
    uint32_t policy              # 0: SCHED_OTHER
    uint64_t flags
    int nice
    uint32_t priority
    uint64_t runtime             # ns: the slice
    uint64_t deadline
    uint64_t period


cdef inline void shorten_slice() noexcept nogil:
    """Ask for the shortest time slice for this thread; its nice value stays."""
    cdef SchedAttr attr
    memset(&attr, 0, sizeof(attr))
    attr.size = sizeof(attr)
    attr.nice = getpriority(PRIO_PROCESS, 0)
    attr.runtime = SLICE
    syscall(SYS_sched_setattr, 0, &attr, 0)


cdef inline void prepare_thread(Engine *e) noexcept nogil:
    """To be called once by the loop's thread."""
    cdef cpu_set_t allowed
    shorten_slice()
    e.cpus = 1
    if sched_getaffinity(0, sizeof(allowed), &allowed) == 0:
        e.cpus = CPU_COUNT(&allowed)


cdef inline void move(Engine *e, int cpu, bint there) noexcept nogil:
    """Move this thread to a CPU, or away from it to any other that it may use."""
    cdef cpu_set_t allowed, wanted
    e.moved_at = e.now
    if sched_getaffinity(0, sizeof(allowed), &allowed):
        return
    if there:
        CPU_ZERO(&wanted)
        CPU_SET(cpu, &wanted)
    else:
        wanted = allowed
        CPU_CLR(cpu, &wanted)
    if sched_setaffinity(0, sizeof(wanted), &wanted) == 0:
        sched_setaffinity(0, sizeof(allowed), &allowed)


cdef inline void choose_cpu(Engine *e) noexcept nogil:
    """Tell the peers where we poll, and go where it is good with regard to those with a lower port."""
    cdef uint64_t cpu = <uint64_t>(sched_getcpu() + 1), theirs, elsewhere = 0
    cdef bint changed = cpu != e.cpu, shared = False
    cdef int i
    cdef Link *link
    if e.cpus < 2:
        return
    e.cpu = cpu
    for i in range(e.active_count):
        link = e.links[e.active[i]]
        if changed:
            vn_store_relaxed(&link.rx.own.cpu, cpu)
        if link.peer < e.port:
            theirs = vn_load_relaxed(&link.rx.peer.cpu)
            if theirs == cpu:
                shared = True
            elif theirs:
                elsewhere = theirs
    if e.now - e.moved_at < MOVE_PAUSE:
        return
    if e.now - e.busy_at < BUSY_MEMORY:
        if e.cpus == 2 and elsewhere and not shared:
            move(e, <int>elsewhere - 1, True)
    elif shared:
        move(e, <int>cpu - 1, False)

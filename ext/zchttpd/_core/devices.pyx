"""Turns at devices: of each a few reads are under way at a time, of windows and of snapshots alike.

So one that is slow, or hangs, has its share of threads, windows and memory, and holds up nobody but those who want its
files. What the page cache has needs no turn.
"""

from libc.stdint cimport uint32_t, uint64_t

from zchttpd._core.check cimport zc_assert
from zchttpd._core.fill cimport fill_start
from zchttpd._core.machine cimport READ_QUEUES, ReadQueue
from zchttpd._core.queues cimport QUEUE_DEVICE, queues_remove
from zchttpd._core.stream cimport stream_pump
from zchttpd._core.token cimport NO_SLOT
from zchttpd._core.transmit cimport COPY_NO

cdef inline bint _is_used(const Machine* machine, uint32_t number) noexcept nogil:
    cdef const ReadQueue* queue = &machine.read_queues[number]
    return queue.reading > 0 or queue.waiting > 0 or machine.queues.first[QUEUE_DEVICE + number] != NO_SLOT


cdef uint32_t devices_queue(Machine* machine, uint64_t device) noexcept nogil:
    """The queue of a device. Where there are more devices than queues, some share one."""
    cdef uint32_t free = NO_SLOT
    cdef uint32_t i
    for i in range(AT_HAND + 1, READ_QUEUES):
        if not _is_used(machine, i):
            if free == NO_SLOT:
                free = i
        elif machine.read_queues[i].device == device:
            return i
    if free == NO_SLOT:
        return <uint32_t>(AT_HAND + 1 + device % (READ_QUEUES - AT_HAND - 1))
    machine.read_queues[free].device = device
    return free


cdef bint devices_free(const Machine* machine, uint32_t number) noexcept nogil:
    """Whether one more may be read there now."""
    return machine.read_queues[number].reading < machine.device_reads_max


cdef void devices_begin(Machine* machine, uint32_t number) noexcept nogil:
    """A read has its turn, until `devices_end`."""
    machine.read_queues[number].reading += 1


cdef void devices_got_on(Machine* machine, uint32_t number) noexcept nogil:
    """Bytes have come from there."""
    machine.read_queues[number].progress_at_ms = machine.now_ms


cdef void devices_end(Machine* machine, uint32_t number) noexcept nogil:
    """It is over: `devices_wake` lets others have their turn."""
    zc_assert(machine.read_queues[number].reading > 0)
    machine.read_queues[number].reading -= 1
    machine.device_news |= <uint32_t>1 << number


cdef void devices_wake(Machine* machine) noexcept nogil:
    """Let those that wait for a turn have it where one is free: snapshots first, as there are few at a time."""
    cdef uint32_t news = machine.device_news
    cdef uint32_t number
    cdef uint32_t last
    cdef uint32_t slot
    if not news:
        return
    machine.device_news = 0
    for number in range(READ_QUEUES):
        if not news & (<uint32_t>1 << number):
            continue
        fill_start(machine, number)
        last = machine.queues.last[QUEUE_DEVICE + number]
        slot = machine.queues.first[QUEUE_DEVICE + number]
        while slot != NO_SLOT and devices_free(machine, number):
            queues_remove(&machine.queues, slot)
            stream_pump(machine, slot, COPY_NO)
            if slot == last:
                break
            slot = machine.queues.first[QUEUE_DEVICE + number]

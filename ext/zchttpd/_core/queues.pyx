"""Queues of slots, first come first served: push and remove take the same time however long they are."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from zchttpd._core.check cimport zc_assert
from zchttpd._core.memory cimport memory_give, memory_take_zeroed
from zchttpd._core.token cimport NO_SLOT


cdef int queues_open(Queues* queues, uint32_t capacity) noexcept nogil:
    """Queues for slots below `capacity`. Returns 0 or -ENOMEM, then nothing is held."""
    memset(queues, 0, sizeof(Queues))
    memset(queues.first, 0xFF, sizeof(queues.first))
    memset(queues.last, 0xFF, sizeof(queues.last))
    queues.next = <uint32_t*>memory_take_zeroed(capacity, sizeof(uint32_t))
    queues.previous = <uint32_t*>memory_take_zeroed(capacity, sizeof(uint32_t))
    queues.queue = <uint8_t*>memory_take_zeroed(capacity, sizeof(uint8_t))
    if queues.next == NULL or queues.previous == NULL or queues.queue == NULL:
        queues_close(queues)
        return -ENOMEM
    return 0


cdef void queues_close(Queues* queues) noexcept nogil:
    memory_give(queues.next)
    memory_give(queues.previous)
    memory_give(queues.queue)
    memset(queues, 0, sizeof(Queues))


cdef void queues_push(Queues* queues, uint32_t slot, uint8_t queue) noexcept nogil:
    """Put `slot`, which is in no queue, at the end of one."""
    cdef uint32_t last = queues.last[queue]
    zc_assert(queues.queue[slot] == QUEUE_NONE and queue != QUEUE_NONE)
    queues.queue[slot] = queue
    queues.previous[slot] = last
    queues.next[slot] = NO_SLOT
    queues.last[queue] = slot
    if last == NO_SLOT:
        queues.first[queue] = slot
    else:
        queues.next[last] = slot


cdef void queues_remove(Queues* queues, uint32_t slot) noexcept nogil:
    """Take `slot` out of its queue, if it is in one."""
    cdef uint8_t queue = queues.queue[slot]
    cdef uint32_t before
    cdef uint32_t behind
    if queue == QUEUE_NONE:
        return
    before = queues.previous[slot]
    behind = queues.next[slot]
    if before == NO_SLOT:
        queues.first[queue] = behind
    else:
        queues.next[before] = behind
    if behind == NO_SLOT:
        queues.last[queue] = before
    else:
        queues.previous[behind] = before
    queues.queue[slot] = QUEUE_NONE

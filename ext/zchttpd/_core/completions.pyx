"""Completions of ops that were done on the spot, until they are reaped. The queue grows: none may be lost."""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from zchttpd._core.check cimport unlikely, zc_assert

cdef enum:
    FIRST_CAPACITY = 64


cdef void completions_close(Completions* queue) noexcept nogil:
    """Forget all. An all-zero queue is an empty one."""
    free(queue.rows)
    memset(queue, 0, sizeof(Completions))


cdef Completion* completions_add(Completions* queue, uint64_t token, int32_t res) noexcept nogil:
    """The last completion of an op, unless the caller says otherwise. Valid until the next call."""
    cdef Completion* rows
    cdef Completion* completion
    cdef uint32_t i
    if unlikely(queue.count == queue.capacity):
        rows = <Completion*>malloc(max(queue.capacity * 2, <uint32_t>FIRST_CAPACITY) * sizeof(Completion))
        # Without its completions a connection would never end.
        zc_assert(rows != NULL)
        for i in range(queue.count):
            rows[i] = queue.rows[(queue.at + i) & (queue.capacity - 1)]
        free(queue.rows)
        queue.rows = rows
        queue.at = 0
        queue.capacity = max(queue.capacity * 2, <uint32_t>FIRST_CAPACITY)
    completion = &queue.rows[(queue.at + queue.count) & (queue.capacity - 1)]
    queue.count += 1
    memset(completion, 0, sizeof(Completion))
    completion.token = token
    completion.res = res
    return completion


cdef void completions_take(Completions* queue, Completion* oldest) noexcept nogil:
    """Move the oldest one out."""
    zc_assert(queue.count > 0)
    oldest[0] = queue.rows[queue.at]
    queue.at = (queue.at + 1) & (queue.capacity - 1)
    queue.count -= 1

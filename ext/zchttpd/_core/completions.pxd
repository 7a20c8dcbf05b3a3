# Completions that wait to be reaped, oldest first.

from libc.stdint cimport int32_t, uint32_t, uint64_t

from zchttpd._core.op cimport Completion

cdef struct Completions:
    Completion* rows        # a circle
    uint32_t at             # of the oldest
    uint32_t count
    uint32_t capacity       # a power of two, or 0

cdef void completions_close(Completions* queue) noexcept nogil
cdef Completion* completions_add(Completions* queue, uint64_t token, int32_t res) noexcept nogil
cdef void completions_take(Completions* queue, Completion* oldest) noexcept nogil

# The end of a worker.

from libc.stdint cimport uint32_t

from zchttpd._core.machine cimport Machine

cdef void drain_begin(Machine* machine, uint32_t idle_ms, uint32_t drain_ms_max) noexcept nogil
cdef void drain_abort_all(Machine* machine) noexcept nogil
cdef bint drain_is_last(Machine* machine, uint32_t slot, uint32_t generation) noexcept nogil


cdef inline bint drain_ends(const Machine* machine, bint last_head) noexcept nogil:
    """Whether the next answer is the last of its connection, because the worker drains. `last_head`: nothing has been
    received behind its head."""
    return machine.draining and (last_head or machine.now_ms >= machine.drain_hurries_at_ms)


cdef inline bint drain_at_once(const Machine* machine) noexcept nogil:
    """Whether a connection that waits for a request goes at once, where the worker drains."""
    return machine.limits.idle_ms_max == 0

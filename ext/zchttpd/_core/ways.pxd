# How memory files leave where zero copy was given up: by reference, or by copying.

from libc.stdint cimport uint32_t

from zchttpd._core.machine cimport Conn, Machine

cdef bint ways_copies(Machine* machine, Conn* conn) noexcept nogil
cdef void ways_sent(Machine* machine, Conn* conn, uint32_t length) noexcept nogil

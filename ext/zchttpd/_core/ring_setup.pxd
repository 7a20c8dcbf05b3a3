# Opens a ring.

from libc.stdint cimport uint32_t

from zchttpd._core.ring cimport Ring

cdef int ring_open(Ring* ring, uint32_t without, uint32_t buffer_count, uint32_t buffer_size,
                   uint32_t table_size) noexcept nogil

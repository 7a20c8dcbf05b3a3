# A file too large to keep in memory streams through windows of the pool: read ahead, sent, given back.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.machine cimport Conn, Machine
from zchttpd._core.plans cimport Segment

cdef int stream_open(Machine* machine, uint32_t slot, const Segment* segment) noexcept nogil
cdef void stream_pump(Machine* machine, uint32_t slot, uint8_t copy_reason) noexcept nogil
cdef int stream_read(Machine* machine, uint32_t slot, int32_t res) noexcept nogil
cdef void stream_sent(Machine* machine, uint32_t slot, uint32_t length) noexcept nogil
cdef void stream_wait(Machine* machine, uint32_t slot) noexcept nogil
cdef void stream_stop(Machine* machine, uint32_t slot) noexcept nogil
cdef void stream_wake(Machine* machine) noexcept nogil

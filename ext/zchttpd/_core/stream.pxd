# A file too large to keep in memory streams through windows of the pool: read ahead, sent, given back.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.machine cimport Conn, Core
from zchttpd._core.plans cimport Segment

cdef int flow_open(Core* core, uint32_t slot, const Segment* segment) noexcept nogil
cdef void flow_pump(Core* core, uint32_t slot, uint8_t copy_reason) noexcept nogil
cdef int flow_read(Core* core, uint32_t slot, int32_t res) noexcept nogil
cdef void flow_sent(Core* core, uint32_t slot, uint32_t length) noexcept nogil
cdef void flow_give_back(Core* core, uint32_t slot) noexcept nogil
cdef void flow_stop(Core* core, uint32_t slot) noexcept nogil
cdef void flow_wake(Core* core) noexcept nogil

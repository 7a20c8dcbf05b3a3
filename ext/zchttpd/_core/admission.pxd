# Room for connections: how many are within the limit, who waits for a request, and who may be shed for a new one.

from libc.stdint cimport uint32_t

from zchttpd._core.machine cimport Core

cdef bint room_is_left(Core* core) noexcept nogil
cdef uint32_t room_oldest_idle(Core* core) noexcept nogil
cdef bint room_may_refuse(Core* core, uint32_t* told) noexcept nogil
cdef void room_take(Core* core, uint32_t slot, bint admitted) noexcept nogil
cdef void room_give(Core* core, uint32_t slot) noexcept nogil
cdef void room_stand_by(Core* core, uint32_t slot) noexcept nogil

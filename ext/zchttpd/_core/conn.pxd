# The machine: (state, completion, time) -> ops and work for the desk.

from libc.stdint cimport int32_t, uint8_t, uint32_t

from zchttpd._core.access_record cimport Peer
from zchttpd._core.machine cimport Core
from zchttpd._core.op cimport Completion

cdef bint conn_accepted(Core* core, int32_t fd, uint8_t route, const Peer* peer) noexcept nogil
cdef bint conn_shed(Core* core) noexcept nogil
cdef void conn_step(Core* core, const Completion* completion) noexcept nogil
cdef bint conn_answer(Core* core, uint32_t slot, uint32_t generation, uint32_t plan, bint memo) noexcept nogil
cdef void conn_retry(Core* core, uint32_t slot, uint32_t generation) noexcept nogil
cdef void conn_abandon(Core* core, uint32_t slot, uint32_t generation) noexcept nogil
cdef void conn_expire(Core* core) noexcept nogil
cdef void conn_queued(Core* core, uint32_t slot, uint32_t generation, int32_t bytes) noexcept nogil
cdef void conn_drain(Core* core) noexcept nogil
cdef void conn_abort_all(Core* core) noexcept nogil

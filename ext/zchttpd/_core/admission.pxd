# The connection limit: how many are within it, who waits for a request, and who may be shed for a new one.

from libc.stdint cimport uint32_t

from zchttpd._core.machine cimport Machine
from zchttpd._core.op cimport Peer

cdef bint admission_has_place(Machine* machine) noexcept nogil
cdef uint32_t admission_oldest_idle(Machine* machine) noexcept nogil
cdef bint admission_may_reject(Machine* machine, uint32_t* evicted) noexcept nogil
cdef void admission_enter(Machine* machine, uint32_t slot, bint admitted, const Peer* peer) noexcept nogil
cdef void admission_turn_away(Machine* machine, uint32_t slot) noexcept nogil
cdef void admission_closed(Machine* machine, uint32_t slot) noexcept nogil
cdef void admission_leave(Machine* machine, uint32_t slot) noexcept nogil
cdef void admission_enqueue(Machine* machine, uint32_t slot) noexcept nogil

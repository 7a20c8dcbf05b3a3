# Who sends in this turn, and who waits for the next.

from libc.stdint cimport int64_t, uint8_t, uint32_t

from zchttpd._core.machine cimport Machine

cdef void turns_begin(Machine* machine) noexcept nogil
cdef bint turns_is_small(Machine* machine, uint32_t plan_slot) noexcept nogil
cdef void turns_wait(Machine* machine, uint32_t slot, uint8_t queue) noexcept nogil
cdef bint turns_anybody(const Machine* machine) noexcept nogil
cdef void turns_send(Machine* machine) noexcept nogil
cdef bint turns_handler_is_due(const Machine* machine) noexcept nogil
cdef void turns_handled(Machine* machine, int64_t took_us, int64_t share_us) noexcept nogil

# The machine: (state, completion, time) -> ops and work for the handler.

from libc.stdint cimport int32_t, uint8_t, uint32_t

from zchttpd._core.machine cimport Machine
from zchttpd._core.op cimport Completion, Op, Peer

cdef bint conn_accepted(Machine* machine, int32_t fd, uint8_t proxy, const Peer* peer) noexcept nogil
cdef bint conn_shed(Machine* machine) noexcept nogil
cdef void conn_step(Machine* machine, const Completion* completion) noexcept nogil
cdef bint conn_answer(Machine* machine, uint32_t slot, uint32_t generation, uint32_t plan, bint cacheable) noexcept nogil
cdef void conn_await_fill(Machine* machine, uint32_t slot, uint32_t generation, uint32_t mapping) noexcept nogil
cdef bint conn_wants_more(Machine* machine, uint32_t slot, uint32_t generation) noexcept nogil
cdef bint conn_go_on(Machine* machine, uint32_t slot, uint32_t generation, uint32_t plan) noexcept nogil
cdef void conn_retry(Machine* machine, uint32_t slot, uint32_t generation) noexcept nogil
cdef void conn_abandon(Machine* machine, uint32_t slot, uint32_t generation) noexcept nogil
cdef void conn_send(Machine* machine, uint32_t slot, uint8_t copy_reason) noexcept nogil
cdef void conn_told(Machine* machine, uint8_t kind, uint32_t slot, uint32_t generation, int32_t result) noexcept nogil
cdef void conn_set_deadline(Machine* machine, uint32_t slot, uint32_t ms) noexcept nogil
cdef Op* conn_now(Machine* machine, uint32_t slot, uint8_t kind) noexcept nogil
cdef void conn_break_off(Machine* machine, uint32_t slot) noexcept nogil
cdef void conn_close(Machine* machine, uint32_t slot) noexcept nogil
cdef void conn_abort(Machine* machine, uint32_t slot) noexcept nogil

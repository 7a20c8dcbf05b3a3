# Who waits for the handler.

from libc.stdint cimport uint8_t, uint32_t

from zchttpd._core.machine cimport Machine

cdef void park(Machine* machine, uint32_t slot, uint8_t queue) noexcept nogil
cdef void park_head(Machine* machine, uint32_t slot, uint32_t head_length) noexcept nogil
cdef void park_lost(Machine* machine, uint32_t slot) noexcept nogil
cdef void park_for_more(Machine* machine, uint32_t slot) noexcept nogil
cdef void park_refused(Machine* machine, uint32_t slot, uint32_t status) noexcept nogil
cdef bint park_may_ask(Machine* machine, uint32_t slot, uint32_t head_length) noexcept nogil

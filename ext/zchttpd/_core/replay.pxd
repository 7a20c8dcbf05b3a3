# The replay of a plan by a connection: which image it sends from, and what it holds until the last byte has left.

from libc.stdint cimport uint32_t

from zchttpd._core.machine cimport Core

cdef bint replay_begin(Core* core, uint32_t slot, uint32_t plan_slot) noexcept nogil
cdef void replay_end(Core* core, uint32_t slot) noexcept nogil

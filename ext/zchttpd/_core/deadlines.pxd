# What becomes of a connection whose time has come.

from libc.stdint cimport int32_t, uint32_t

from zchttpd._core.machine cimport Machine

cdef void deadlines_expire(Machine* machine) noexcept nogil
cdef void deadlines_queued(Machine* machine, uint32_t slot, int32_t bytes) noexcept nogil

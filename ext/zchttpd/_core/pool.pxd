# The pool of windows. What comes back to it, does so through the last reference to the window.

from libc.stdint cimport uint32_t

from zchttpd._core.machine cimport Machine

cdef uint32_t pool_windows_left(Machine* machine) noexcept nogil
cdef uint32_t pool_take(Machine* machine, uint32_t conn_slot) noexcept nogil
cdef void pool_trim(Machine* machine) noexcept nogil

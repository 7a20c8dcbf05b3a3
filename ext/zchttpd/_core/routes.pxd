# `auto`: whether zero copy pays on a route, by what the kernel's notifications say of the sends that were delivered.

from libc.stdint cimport uint8_t, uint32_t

from zchttpd._core.machine cimport Conn, Machine
from zchttpd._core.mapping cimport Mapping

cdef uint8_t routes_of(Machine* machine, Conn* conn) noexcept nogil
cdef bint routes_refer(Machine* machine) noexcept nogil
cdef bint routes_want_other_pages(Machine* machine, const Mapping* mapping) noexcept nogil
cdef void routes_referred(Machine* machine, Conn* conn) noexcept nogil
cdef bint routes_spares(Machine* machine, uint8_t route) noexcept nogil
cdef bint routes_spare(Machine* machine, uint8_t route) noexcept nogil
cdef void routes_copied(Machine* machine, uint8_t route) noexcept nogil
cdef void routes_not_copied(Machine* machine, Conn* conn) noexcept nogil
cdef void routes_heard_from(Machine* machine, Conn* conn) noexcept nogil
cdef void routes_forget(Machine* machine, Conn* conn) noexcept nogil

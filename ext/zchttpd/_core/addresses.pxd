# How many connections each address has, for the limit of one address.

from libc.stdint cimport uint32_t, uint64_t

from zchttpd._core.machine cimport Machine
from zchttpd._core.op cimport Peer

cdef int addresses_open(Machine* machine) noexcept nogil
cdef void addresses_close(Machine* machine) noexcept nogil
cdef void addresses_name(const Peer* peer, uint64_t* address) noexcept nogil
cdef bint addresses_have_room(Machine* machine, const Peer* peer) noexcept nogil
cdef void addresses_enter(Machine* machine, uint32_t slot, const Peer* peer) noexcept nogil
cdef void addresses_leave(Machine* machine, uint32_t slot) noexcept nogil

# How many requests and bytes each address may have in a second, for the limits of one address.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from zchttpd._core.machine cimport Conn, Machine
from zchttpd._core.op cimport Peer

cdef int rates_open(Machine* machine) noexcept nogil
cdef void rates_close(Machine* machine) noexcept nogil
cdef void rates_enter(Machine* machine, uint32_t slot, const Peer* peer) noexcept nogil
cdef bint rates_may_ask(Machine* machine, uint32_t slot) noexcept nogil
cdef bint rates_may_send(Machine* machine, uint32_t slot) noexcept nogil
cdef void rates_give_back(Machine* machine, uint32_t slot) noexcept nogil


cdef inline uint64_t rates_clip(const Machine* machine, const Conn* conn, uint64_t length) noexcept nogil:
    """So many of `length` bytes may leave now."""
    return length if machine.rates == NULL else min(length, <uint64_t>conn.paid)

# Whom requests are for, for the log and the limits of one address.

from libc.stdint cimport uint32_t

from zchttpd._core.machine cimport Machine
from zchttpd._core.op cimport Peer

cdef int clients_open(Machine* machine) noexcept nogil
cdef void clients_close(Machine* machine) noexcept nogil
cdef bint clients_believe(const Machine* machine, const Peer* peer) noexcept nogil
cdef void clients_connected(Machine* machine, uint32_t slot, const Peer* peer, bint counts) noexcept nogil
cdef const Peer* clients_read(Machine* machine, uint32_t slot, const char* head, uint32_t length) noexcept nogil


cdef inline const Peer* clients_named(const Machine* machine, uint32_t slot) noexcept nogil:
    """Whom the log names; NULL where there is none."""
    return NULL if machine.clients == NULL else &machine.clients[slot].named

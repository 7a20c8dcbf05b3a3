# Networks of addresses, as options name them: 192.0.2.0/24, 2001:db8::/32.

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from zchttpd._core.op cimport Peer

cdef enum:
    NETWORKS_MAX = 256      # of an option

cdef struct Network:
    uint8_t family          # 4, 6, or 0 for whoever comes by a unix socket
    uint8_t bits            # of the address that count
    uint8_t[16] address     # of IPv4, the first four

cdef struct Networks:
    Network* rows
    uint32_t count

cdef int networks_open(Networks* networks, const Network* rows, uint32_t count) noexcept nogil
cdef void networks_close(Networks* networks) noexcept nogil
cdef void network_peer(Peer* peer, bint six, const uint8_t* address, uint16_t port) noexcept nogil
cdef bint networks_have(const Networks* networks, const Peer* peer) noexcept nogil

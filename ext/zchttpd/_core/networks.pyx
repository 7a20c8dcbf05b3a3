"""Which networks an address is of. There are few, so each is looked at."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from zchttpd._core.memory cimport memory_give, memory_take


# ::ffff:0:0/96, RFC 4291 section 2.5.5.2
cdef uint8_t[12] MAPPED
MAPPED[:] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]


cdef int networks_open(Networks* networks, const Network* rows, uint32_t count) noexcept nogil:
    """A copy of `count` rows. Returns 0 or -ENOMEM."""
    networks.count = 0
    networks.rows = <Network*>memory_take((count + 1) * sizeof(Network))
    if networks.rows == NULL:
        return -ENOMEM
    if count > 0:
        memcpy(networks.rows, rows, count * sizeof(Network))
    networks.count = count
    return 0


cdef void networks_close(Networks* networks) noexcept nogil:
    memory_give(networks.rows)
    memset(networks, 0, sizeof(Networks))


cdef bint networks_have(const Networks* networks, const Peer* peer) noexcept nogil:
    """Whether a peer is of one of them. `peer` may be NULL."""
    cdef const Network* row
    cdef uint32_t i, whole
    cdef uint8_t mask
    for i in range(networks.count if peer != NULL else 0):
        row = &networks.rows[i]
        whole = row.bits // 8
        mask = <uint8_t>(0xFF00 >> row.bits % 8)
        if (row.family == peer.family and memcmp(row.address, peer.address, whole) == 0
                and (mask == 0 or not (row.address[whole] ^ peer.address[whole]) & mask)):
            return True
    return False


cdef void network_peer(Peer* peer, bint six, const uint8_t* address, uint16_t port) noexcept nogil:
    """Of an address as it is sent, as `address_peer` has it: who has one of IPv4 has that, however it is written."""
    cdef bint mapped = six and memcmp(address, MAPPED, 12) == 0
    memset(peer, 0, sizeof(Peer))
    peer.family = 6 if six and not mapped else 4
    peer.port = port
    memcpy(peer.address, address + 12 if mapped else address, 4 if peer.family == 4 else 16)

"""Connections of each address: counted in a hash table with chains, where there is a limit for one. Of whom a proxy names
in request heads it is the requests that are being answered, as the connections are the proxy's.

An address is one of IPv4, or 64 bits of IPv6: whoever has one address there has them all (RFC 6177). The hash is keyed, so
that nobody can aim at a chain. Unix sockets have no address, and no limit.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from zchttpd._core.check cimport zc_assert
from zchttpd._core.machine cimport AddressCount, NO_LIMIT, conn_at
from zchttpd._core.memory cimport memory_give, memory_take
from zchttpd._core.plans cimport cache_key_hash
from zchttpd._core.slab cimport slab_close, slab_give, slab_open, slab_row, slab_take
from zchttpd._core.token cimport NO_SLOT


cdef int addresses_open(Machine* machine) noexcept nogil:
    """Count from now on, if there is a limit. Returns 0 or -ENOMEM, then `addresses_close` gives everything back."""
    cdef uint32_t count = 1
    cdef uint32_t i
    if machine.limits.connections_per_address == NO_LIMIT:
        return 0
    while count < machine.limits.connections_max:
        count *= 2
    machine.address_chains = <uint32_t*>memory_take(count * sizeof(uint32_t))
    if (machine.address_chains == NULL
            or slab_open(&machine.addresses, sizeof(AddressCount), machine.limits.connections_max) < 0):
        return -ENOMEM
    for i in range(count):
        machine.address_chains[i] = NO_SLOT
    machine.address_chain_count = count
    return 0


cdef void addresses_close(Machine* machine) noexcept nogil:
    slab_close(&machine.addresses)
    memory_give(machine.address_chains)
    machine.address_chains = NULL
    machine.address_chain_count = 0


cdef inline AddressCount* _at(Machine* machine, uint32_t slot) noexcept nogil:
    return <AddressCount*>slab_row(&machine.addresses, slot)


cdef inline bint _is_counted(Machine* machine, const Peer* peer) noexcept nogil:
    return machine.address_chain_count > 0 and peer != NULL and peer.family != 0


cdef uint32_t* _find(Machine* machine, const uint64_t* address) noexcept nogil:
    """Where the chain leads to this address, or ends without it."""
    cdef uint64_t hash = cache_key_hash(&machine.table, <const char*>address, 2 * sizeof(uint64_t))
    cdef uint32_t* link = &machine.address_chains[hash & (machine.address_chain_count - 1)]
    cdef AddressCount* row
    while link[0] != NO_SLOT:
        row = _at(machine, link[0])
        if row.address[0] == address[0] and row.address[1] == address[1]:
            break
        link = &row.next
    return link


cdef void addresses_name(const Peer* peer, uint64_t* address) noexcept nogil:
    """Its family, and its four bytes or the first eight of them."""
    address[0] = peer.family
    address[1] = 0
    memcpy(&address[1], peer.address, 4 if peer.family == 4 else 8)


cdef bint addresses_have_room(Machine* machine, const Peer* peer) noexcept nogil:
    """Whether one more connection, or request, may come from there. If not, that is counted. `peer` may be NULL."""
    cdef uint64_t[2] address
    cdef uint32_t found
    if not _is_counted(machine, peer):
        return True
    addresses_name(peer, address)
    found = _find(machine, address)[0]
    if found == NO_SLOT or _at(machine, found).connections < machine.limits.connections_per_address:
        return True
    machine.stats.refused_address += 1
    return False


cdef void addresses_enter(Machine* machine, uint32_t slot, const Peer* peer) noexcept nogil:
    """A connection has been admitted, or its request is about to be answered. `peer` may be NULL."""
    cdef uint64_t[2] address
    cdef uint32_t* link
    cdef AddressCount* row
    if not _is_counted(machine, peer):
        return
    addresses_name(peer, address)
    link = _find(machine, address)
    if link[0] == NO_SLOT:
        link[0] = slab_take(&machine.addresses)
        # There are as many rows as connections may be admitted, and each has one request under way.
        zc_assert(link[0] != NO_SLOT)
        row = _at(machine, link[0])
        row.address[0] = address[0]
        row.address[1] = address[1]
        row.next = NO_SLOT
    _at(machine, link[0]).connections += 1
    conn_at(machine, slot).address = link[0]


cdef void addresses_leave(Machine* machine, uint32_t slot) noexcept nogil:
    """It is about to close, or its response is over."""
    cdef uint32_t found = conn_at(machine, slot).address
    cdef AddressCount* row
    if found == NO_SLOT:
        return
    conn_at(machine, slot).address = NO_SLOT
    row = _at(machine, found)
    row.connections -= 1
    if row.connections == 0:
        _find(machine, row.address)[0] = row.next
        slab_give(&machine.addresses, found)

"""Whom requests are for: whoever has connected, or whom a proxy that is believed names in the head of each.

The log names them, and what there is for one address is theirs. One connection of a proxy brings requests of many clients,
one behind the other: each head is read once, before anything is counted. Of one that is not believed nothing is read.
"""

from libc.errno cimport ENOMEM
from libc.string cimport memset

from zchttpd._core.forwarded cimport forwarded_client
from zchttpd._core.machine cimport Client, conn_at
from zchttpd._core.memory cimport memory_give, memory_take_zeroed
from zchttpd._core.networks cimport networks_close, networks_have
from zchttpd._core.rates cimport rates_enter


cdef int clients_open(Machine* machine) noexcept nogil:
    """Somebody wants to know from now on, before the first connection. Returns 0 or -ENOMEM."""
    if machine.clients == NULL:
        machine.clients = <Client*>memory_take_zeroed(machine.conns.capacity, sizeof(Client))
    return 0 if machine.clients != NULL else -ENOMEM


cdef void clients_close(Machine* machine) noexcept nogil:
    networks_close(&machine.forwarders)
    memory_give(machine.clients)
    machine.clients = NULL


cdef bint clients_believe(const Machine* machine, const Peer* peer) noexcept nogil:
    """Whether somebody wants to know, and this peer may say so. `peer` may be NULL."""
    return machine.clients != NULL and networks_have(&machine.forwarders, peer)


cdef void clients_connected(Machine* machine, uint32_t slot, const Peer* peer, bint counts) noexcept nogil:
    """A new connection, or a proxy has named its client. `peer` may be NULL. `counts`: as far as limits of an address go."""
    cdef Client* client
    rates_enter(machine, slot, peer if counts else NULL)
    conn_at(machine, slot).believed = clients_believe(machine, peer)
    if machine.clients == NULL:
        return
    client = &machine.clients[slot]
    memset(client, 0, sizeof(Client))
    if peer != NULL:
        client.peer = client.named = peer[0]
        if counts:
            client.own = peer[0]


cdef const Peer* clients_read(Machine* machine, uint32_t slot, const char* head, uint32_t length) noexcept nogil:
    """Whose request this head is, over a connection that is believed: of whom it names, or of nobody but the connection. It
    may be broken, or not have come whole."""
    cdef Client* client = &machine.clients[slot]
    cdef const Peer* whose = &client.own
    client.named = client.peer
    if forwarded_client(head, length, machine.forwarded, &machine.forwarders, &client.named):
        whose = &client.named
    rates_enter(machine, slot, whose)
    return whose

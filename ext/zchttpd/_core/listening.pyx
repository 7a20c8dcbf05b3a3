"""Listeners, and networks of addresses, as the options have them, for the machine."""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset

from zchttpd._core.machine cimport LISTENERS_MAX, PROXY_ANYBODY, PROXY_NAMED, PROXY_NONE
from zchttpd._core.networks cimport NETWORKS_MAX, Network, networks_open

# Who connects to a listener: the client, a proxy of the networks that are named, or any proxy that can.
PROXIES = {"": PROXY_NONE, "named": PROXY_NAMED, "any": PROXY_ANYBODY}


cdef int listening_networks(Networks* networks, named) except -1:
    """As Python has them: (packed address, bits that count). Raises ValueError for too many, and MemoryError."""
    cdef Network[NETWORKS_MAX] rows
    cdef uint32_t count = 0
    cdef bytes address
    for address, bits in named:
        if count == NETWORKS_MAX:
            raise ValueError("too many networks")
        memset(&rows[count], 0, sizeof(Network))
        rows[count].family = {0: 0, 4: 4, 16: 6}[len(address)]
        rows[count].bits = bits
        memcpy(rows[count].address, <const char*>address, len(address))
        count += 1
    if networks_open(networks, rows, count) < 0:
        raise MemoryError("no memory for the networks")
    return 0


cdef int listening_set(Machine* machine, listeners, proxies) except -1:
    """Have these listeners, as (descriptor, a name of PROXIES), where the `proxies`, networks as (packed address, bits that
    count), may say who the client is. Raises ValueError for too many, and MemoryError."""
    listening_networks(&machine.proxies, proxies)
    for fd, who in listeners:
        if machine.listener_count == LISTENERS_MAX:
            raise ValueError("too many listeners")
        machine.listeners[machine.listener_count].fd = fd
        machine.listeners[machine.listener_count].proxy = PROXIES[who]
        machine.proxied |= PROXIES[who] != PROXY_NONE
        machine.listener_count += 1
    return 0

"""The test hooks for what proxies say of their clients."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from zchttpd._core.forwarded cimport forwarded_client, forwarded_scheme
from zchttpd._core.listening cimport listening_networks
from zchttpd._core.networks cimport Networks, networks_close
from zchttpd._core.op cimport Peer
from zchttpd._core.proxy cimport PROXY_CLIENT, PROXY_MORE, PROXY_OWN, PROXY_WRONG, proxy_read

PROXY_READS = {PROXY_MORE: "more", PROXY_CLIENT: "client", PROXY_OWN: "own", PROXY_WRONG: "wrong"}


def read_proxy(received: bytes) -> tuple[str, int, bytes, int]:
    """(what it is, its size, the client's address, or none, and port) of a header of the PROXY protocol."""
    cdef Peer client
    cdef uint32_t size = 0
    memset(&client, 0, sizeof(Peer))
    # A copy of its own, so that a look behind its end shows.
    cdef uint8_t* copy = <uint8_t*>malloc(len(received))
    memcpy(copy, <const char*>received, len(received))
    found = PROXY_READS[proxy_read(copy, len(received), &client, &size)]
    free(copy)
    address = PyBytes_FromStringAndSize(<char*>client.address, {0: 0, 4: 4, 6: 16}[client.family])
    return found, size, address, client.port


def read_forwarded(head: bytes, forwarded: bool, proxies: list) -> tuple[bytes, int] | None:
    """(address, port) of the client that a head names which came from one of `proxies`; None where it names none."""
    cdef Networks networks
    cdef Peer client
    cdef char* copy = <char*>malloc(len(head))
    memset(&networks, 0, sizeof(Networks))
    memset(&client, 0, sizeof(Peer))
    listening_networks(&networks, proxies)
    memcpy(copy, <const char*>head, len(head))
    found = forwarded_client(copy, <uint32_t>len(head), forwarded, &networks, &client)
    free(copy)
    networks_close(&networks)
    if not found:
        return None
    return PyBytes_FromStringAndSize(<char*>client.address, 4 if client.family == 4 else 16), client.port


def read_scheme(head: bytes, forwarded: bool, proxies: list) -> str:
    """The scheme that a head names which came from one of `proxies`; empty where it names none."""
    cdef Networks networks
    cdef char* copy = <char*>malloc(len(head))
    memset(&networks, 0, sizeof(Networks))
    listening_networks(&networks, proxies)
    memcpy(copy, <const char*>head, len(head))
    found = ("", "http", "https")[forwarded_scheme(copy, <uint32_t>len(head), forwarded, &networks)]
    free(copy)
    networks_close(&networks)
    return found

"""Who is at the other end of a socket, and whether that is this machine (getpeername(2), getsockname(2))."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from zchttpd._core.stats cimport ROUTE_LOOPBACK, ROUTE_NETWORK
from zchttpd._core.token cimport TOKEN_ACCEPT, token_kind

cdef extern from "<sys/socket.h>" nogil:
    enum:
        AF_UNIX
        AF_INET
        AF_INET6
    cdef struct sockaddr:
        unsigned short sa_family
    cdef struct sockaddr_storage:
        pass
    ctypedef uint32_t socklen_t
    int getsockname(int fd, sockaddr* address, socklen_t* length)
    int getpeername(int fd, sockaddr* address, socklen_t* length)

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    cdef struct in6_addr:
        uint8_t[16] s6_addr
    cdef struct sockaddr_in6:
        uint16_t sin6_port
        in6_addr sin6_addr
    uint32_t ntohl(uint32_t number)
    uint16_t ntohs(uint16_t number)

# ::ffff:0:0/96, RFC 4291 section 2.5.5.2
cdef uint8_t[12] MAPPED
MAPPED[:] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]


cdef void address_peer(int fd, Peer* peer) noexcept nogil:
    """The address of the client (getpeername(2)); of an IPv4 client of an IPv6 socket, its IPv4 address."""
    cdef sockaddr_storage address
    cdef socklen_t length = sizeof(address)
    cdef sockaddr_in* four = <sockaddr_in*>&address
    cdef sockaddr_in6* six = <sockaddr_in6*>&address
    memset(peer, 0, sizeof(Peer))
    if getpeername(fd, <sockaddr*>&address, &length) < 0:
        return
    if (<sockaddr*>&address).sa_family == AF_INET:
        peer.family = 4
        peer.port = ntohs(four.sin_port)
        memcpy(peer.address, &four.sin_addr.s_addr, 4)
    elif (<sockaddr*>&address).sa_family == AF_INET6:
        peer.family = 4 if memcmp(six.sin6_addr.s6_addr, MAPPED, 12) == 0 else 6
        peer.port = ntohs(six.sin6_port)
        memcpy(peer.address, &six.sin6_addr.s6_addr[12 if peer.family == 4 else 0], 4 if peer.family == 4 else 16)


cdef bint _same_host(sockaddr_storage* one, sockaddr_storage* other) noexcept nogil:
    if (<sockaddr*>one).sa_family != (<sockaddr*>other).sa_family:
        return False
    if (<sockaddr*>one).sa_family == AF_INET:
        return (<sockaddr_in*>one).sin_addr.s_addr == (<sockaddr_in*>other).sin_addr.s_addr
    if (<sockaddr*>one).sa_family == AF_INET6:
        return memcmp((<sockaddr_in6*>one).sin6_addr.s6_addr, (<sockaddr_in6*>other).sin6_addr.s6_addr, 16) == 0
    return False


cdef uint8_t address_route(int fd) noexcept nogil:
    """Whether the connection stays on this machine, where the kernel always copies."""
    cdef sockaddr_storage address
    cdef sockaddr_storage peer
    cdef socklen_t length = sizeof(address)
    cdef socklen_t peer_length = sizeof(peer)
    cdef uint8_t* bytes
    cdef int i
    if getsockname(fd, <sockaddr*>&address, &length) < 0:
        return ROUTE_NETWORK
    # A peer with our own address is on this machine, whatever the address.
    if getpeername(fd, <sockaddr*>&peer, &peer_length) == 0 and _same_host(&address, &peer):
        return ROUTE_LOOPBACK
    if (<sockaddr*>&address).sa_family == AF_UNIX:
        return ROUTE_LOOPBACK
    if (<sockaddr*>&address).sa_family == AF_INET:
        return ROUTE_LOOPBACK if ntohl((<sockaddr_in*>&address).sin_addr.s_addr) >> 24 == 127 else ROUTE_NETWORK
    if (<sockaddr*>&address).sa_family != AF_INET6:
        return ROUTE_NETWORK
    bytes = (<sockaddr_in6*>&address).sin6_addr.s6_addr
    for i in range(10):
        if bytes[i]:
            return ROUTE_NETWORK
    # ::1, or ::ffff:127.x.y.z
    if bytes[10] == 0xFF and bytes[11] == 0xFF:
        return ROUTE_LOOPBACK if bytes[12] == 127 else ROUTE_NETWORK
    for i in range(10, 15):
        if bytes[i]:
            return ROUTE_NETWORK
    return ROUTE_LOOPBACK if bytes[15] == 1 else ROUTE_NETWORK


cdef void address_look_up(Completion* completions, uint32_t count, Peer* peers) noexcept nogil:
    """Say of the connections among these completions from whom they come, in `peers`, as many as there are completions."""
    cdef uint32_t i
    for i in range(count):
        if token_kind(completions[i].token) == TOKEN_ACCEPT and completions[i].res >= 0:
            address_peer(completions[i].res, &peers[i])
            completions[i].peer = &peers[i]

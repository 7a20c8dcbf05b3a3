# The addresses of a connected socket.

from libc.stdint cimport uint8_t

from zchttpd._core.op cimport Peer

cdef void address_peer(int fd, Peer* peer) noexcept nogil
cdef uint8_t address_route(int fd) noexcept nogil

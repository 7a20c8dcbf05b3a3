# The addresses of a connected socket.

from libc.stdint cimport uint8_t, uint32_t

from zchttpd._core.op cimport Completion, Peer

cdef void address_peer(int fd, Peer* peer) noexcept nogil
cdef uint8_t address_route(int fd) noexcept nogil
cdef void address_look_up(Completion* completions, uint32_t count, Peer* peers) noexcept nogil

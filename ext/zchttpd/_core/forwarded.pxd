# The client that proxies name in a request head: X-Forwarded-For, or Forwarded (RFC 7239).

from libc.stdint cimport uint32_t

from zchttpd._core.networks cimport Networks
from zchttpd._core.op cimport Peer

cdef bint forwarded_client(const char* head, uint32_t length, bint standard, const Networks* proxies,
                           Peer* client) noexcept nogil

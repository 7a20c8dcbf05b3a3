# The client, and the scheme, that proxies name in a request head: X-Forwarded-For and X-Forwarded-Proto, or Forwarded
# (RFC 7239).

from libc.stdint cimport uint8_t, uint32_t

from zchttpd._core.networks cimport Networks
from zchttpd._core.op cimport Peer

cdef enum Scheme:
    SCHEME_UNNAMED = 0
    SCHEME_HTTP = 1
    SCHEME_HTTPS = 2

cdef bint forwarded_client(const char* head, uint32_t length, bint standard, const Networks* proxies,
                           Peer* client) noexcept nogil
cdef uint8_t forwarded_scheme(const char* head, uint32_t length, bint standard, const Networks* proxies) noexcept nogil

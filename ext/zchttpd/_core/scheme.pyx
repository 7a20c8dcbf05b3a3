"""By which scheme, http or https, a request was made, and the cache key where answers depend on that.

It is that of the connection, unless a proxy that is believed names another. Then the key has a line more that says so, in
the field that is read, before its last line: so it is again a head, and one that means the same where that proxy sends it.
Nobody else's key has such a line, as those of the field itself are not kept.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy, strlen

from zchttpd._core.cache_key cimport CACHE_KEY_SIZE_MAX, cache_key
from zchttpd._core.forwarded cimport SCHEME_HTTPS, SCHEME_UNNAMED, forwarded_scheme
from zchttpd._core.machine cimport conn_at
from zchttpd._core.networks cimport networks_have


cdef inline const char* _line(bint standard, bint secure) noexcept nogil:
    if standard:
        return b"Forwarded: proto=https\r\n\r\n" if secure else b"Forwarded: proto=http\r\n\r\n"
    return b"X-Forwarded-Proto: https\r\n\r\n" if secure else b"X-Forwarded-Proto: http\r\n\r\n"


cdef void scheme_connected(Machine* machine, uint32_t slot, const Peer* peer) noexcept nogil:
    """A new connection, or one whose proxy has said who the client is. `peer` may be NULL."""
    conn_at(machine, slot).names_scheme = machine.tells_schemes and networks_have(&machine.forwarders, peer)


cdef bint scheme_is_secure(Machine* machine, uint32_t slot, const char* head, uint32_t length) noexcept nogil:
    """Whether a head of this connection was asked for by https."""
    cdef uint32_t scheme = SCHEME_UNNAMED
    if conn_at(machine, slot).names_scheme:
        scheme = forwarded_scheme(head, length, machine.forwarded, &machine.forwarders)
    return machine.secure if scheme == SCHEME_UNNAMED else scheme == SCHEME_HTTPS


cdef uint32_t scheme_cache_key(Machine* machine, uint32_t slot, const char* head, uint32_t length) noexcept nogil:
    """As `cache_key`, in `machine.cache_key`."""
    cdef uint32_t key_length = cache_key(head, length, machine.cache_key)
    cdef uint32_t size
    cdef const char* line
    cdef bint secure
    if not conn_at(machine, slot).names_scheme or key_length < 4:
        return key_length
    secure = scheme_is_secure(machine, slot, head, length)
    if secure == machine.secure:
        return key_length
    line = _line(machine.forwarded, secure)
    size = <uint32_t>strlen(line)
    # What ends in another way is refused.
    if memcmp(machine.cache_key + key_length - 4, b"\r\n\r\n", 4) != 0 or key_length - 2 + size > CACHE_KEY_SIZE_MAX:
        return 0
    memcpy(machine.cache_key + key_length - 2, line, size)
    return key_length - 2 + size

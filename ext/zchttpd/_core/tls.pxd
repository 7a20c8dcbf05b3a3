# TLS beneath the sockets of the readiness driver: what it calls instead of recv(2), and of send(2) unless the kernel
# encrypts. The records are made in Python (zchttpd/engine/tls_transport.py), so each call takes the GIL.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from zchttpd._core.completions cimport Completions
from zchttpd._core.op cimport Op
from zchttpd._core.sends cimport Sends

cdef enum TlsState:         # of a descriptor
    TLS_NONE = 0
    TLS_SHAKING = 1         # its handshake is not over
    TLS_BY_LIBRARY = 2
    TLS_BY_KERNEL = 3       # which encrypts what is sent; the library decrypts what comes
    TLS_GREETING = 4        # a PROXY header comes in clear, before the handshake

cdef struct TlsRow:
    uint8_t state           # TlsState
    uint8_t again           # there is more to do than the socket tells, as soon as it takes bytes

cdef class TlsLayer:
    cdef object transport
    cdef dict connections   # by descriptor
    cdef frozenset proxied  # listeners, by descriptor, whose connections begin with a PROXY header
    cdef dict greetings     # what has come of those headers, by descriptor
    cdef object scratch     # the pages of scratch_fd
    cdef int scratch_fd
    cdef int64_t due_ms     # when the next handshake is over in any case, 0 when none is

    cdef void accepted(self, int32_t listener, int32_t fd, TlsRow* row) noexcept with gil
    cdef ssize_t receive(self, int32_t fd, TlsRow* row, char* buffer, size_t size) noexcept with gil
    cdef ssize_t _greet(self, int32_t fd, TlsRow* row, char* buffer, size_t size)
    cdef ssize_t send(self, const Op* ops, int count) noexcept with gil
    cdef ssize_t _gather(self, const Op* ops, int count, uint64_t done)
    cdef void end(self, int32_t fd, bint broken) noexcept with gil
    cdef void reset(self, int32_t fd) noexcept with gil
    cdef void closing(self, int32_t fd) noexcept with gil
    cdef void expire(self, int64_t now_ms) noexcept with gil

cdef void tls_send(void* layer, Sends* pushed, Completions* done) noexcept nogil


cdef inline bint tls_encrypts(const TlsRow* row) noexcept nogil:
    """Whether the library does."""
    return row.state != TLS_NONE and row.state != TLS_BY_KERNEL


cdef inline bint tls_takes(const TlsRow* row) noexcept nogil:
    """Whether what is to be sent may leave: not before the handshake is over, whatever room there is."""
    return row.state != TLS_SHAKING and row.state != TLS_GREETING

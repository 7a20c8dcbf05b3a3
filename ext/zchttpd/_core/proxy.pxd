# The PROXY protocol, versions 1 and 2: who stands before the server says, before the first request, who the client is.

from libc.stdint cimport uint8_t, uint32_t

from zchttpd._core.machine cimport Machine
from zchttpd._core.op cimport Peer

cdef enum ProxyRead:
    PROXY_MORE = 0      # it goes on
    PROXY_CLIENT = 1    # whole, and it names the client
    PROXY_OWN = 2       # whole, and it names nobody: the connection is the proxy's own, or of another kind
    PROXY_WRONG = 3     # no header, and none can come of it

cdef int proxy_read(const uint8_t* bytes, uint32_t length, Peer* client, uint32_t* size) noexcept nogil
cdef bint proxy_trusts(Machine* machine, uint8_t proxy, const Peer* peer) noexcept nogil
cdef void proxy_begin(Machine* machine, uint32_t slot, uint8_t proxy) noexcept nogil
cdef void proxy_step(Machine* machine, uint32_t slot) noexcept nogil

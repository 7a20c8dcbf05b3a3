# By which scheme, http or https, a request was made, and the cache key where answers depend on that.

from libc.stdint cimport uint32_t

from zchttpd._core.machine cimport Machine
from zchttpd._core.op cimport Peer

cdef void scheme_connected(Machine* machine, uint32_t slot, const Peer* peer) noexcept nogil
cdef bint scheme_is_secure(Machine* machine, uint32_t slot, const char* head, uint32_t length) noexcept nogil
cdef uint32_t scheme_cache_key(Machine* machine, uint32_t slot, const char* head, uint32_t length) noexcept nogil

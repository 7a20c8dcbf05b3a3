# The ledger: which send still reads which mapping, or mapped file. A lease ends with the notification, or with a result that
# says that none will follow. Never by the sign of a result, by order, or because a connection closed.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from zchttpd._core.mapping cimport Mappings
from zchttpd._core.slab cimport Slab
from zchttpd._core.stats cimport Stats

cdef struct Lease:
    int64_t opened_us       # monotonic
    uint32_t mapping        # slot; the lease holds a reference. NO_SLOT: it is on a mapped file
    uint32_t source         # then its slot, of which it holds a reference
    char* address           # and its first byte
    uint32_t conn           # connection it was opened for, which may be gone
    uint32_t conn_generation
    uint32_t length         # bytes asked for
    int32_t result          # of the send, once it is in
    uint8_t answered        # the result is in, the notification is not
    uint8_t route           # Route

cdef struct Ledger:
    Slab slab               # of Lease
    Mappings* mappings
    Stats* stats

cdef int ledger_open(Ledger* ledger, uint32_t capacity, Mappings* mappings, Stats* stats) noexcept nogil
cdef void ledger_close(Ledger* ledger) noexcept nogil
cdef Lease* lease_at(Ledger* ledger, uint32_t slot) noexcept nogil
cdef uint32_t lease_open(Ledger* ledger, uint32_t mapping, uint32_t conn, uint32_t conn_generation, uint32_t length,
                         uint8_t route, int64_t now_us) noexcept nogil
cdef int lease_end(Ledger* ledger, uint32_t slot, int64_t now_us) noexcept nogil

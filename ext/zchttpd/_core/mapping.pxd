# Bytes of a file in mmap'd memory that the kernel may hold as a registered buffer.
# One mapping = one slot = the same index in the registered-buffer table.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.slab cimport Slab
from zchttpd._core.stats cimport Stats
from zchttpd._core.version cimport Version

cdef extern from "zc_compat.h" nogil:
    int MADV_COLLAPSE

cdef enum MappingKind:
    MAPPING_SNAPSHOT = 1    # a whole file, immutable once filled
    MAPPING_WINDOW = 2      # a place in the pool through which large files stream

cdef enum MappingRest:      # what the last reference leaves to do
    REST_NOTHING = 0        # others still hold it, or it has been unmapped
    REST_CLEAR = 1          # clear its buffer-table slot; unmap when the tag comes back
    REST_POOL = 2           # back to the pool

cdef struct Mapping:
    char* base          # first byte
    size_t length       # bytes of the file (snapshot) or usable bytes (window)
    size_t capacity     # bytes mmap'd
    size_t filled       # bytes read so far
    int32_t buffer      # index in the registered-buffer table, -1 when not registered
    int32_t fd          # file that it is being filled from, -1 otherwise
    int32_t memfd       # memory file that it is a mapping of, sealed once filled; -1 when it is anonymous
    size_t huge         # of the capacity, bytes that are to lie in huge pages: it leaves by reference only. 0: none
    Version version     # that is to fill it
    uint32_t refs       # owner + plans + leases + streams
    uint32_t leases     # open leases on it
    uint32_t next       # pool list, or fill queue
    uint32_t read_queue     # that it is filled in, or waits in
    uint64_t device     # of the file that it is being filled from
    int64_t progress_at_ms  # bytes of the file last came, or it was its turn to be read
    uint32_t holder     # window: the connection that took it from the pool
    uint32_t holder_generation
    uint8_t kind        # MappingKind
    uint8_t reading     # a read of the fill is under way
    uint8_t zombie      # its owner has let go, others have not
    uint8_t collapsing  # its huge pages are being made

cdef enum:
    MEMFD_SIZE_MIN = 16 * 1024  # a file wants a descriptor, and less than a few pages costs little to copy
    HUGE_SIZE = 2 * 1024 * 1024

cdef struct Mappings:
    Slab slab           # of Mapping
    size_t memfd_size_min   # snapshots of so many bytes are memory files, for a driver that sends those; 0: none are
    uint32_t memfds         # that are open
    uint32_t memfds_max     # snapshots beyond these are anonymous
    size_t huge_size        # of a huge page of memory files; 0: a driver that has none
    Stats* stats

cdef int mappings_open(Mappings* mappings, uint32_t capacity, Stats* stats) noexcept nogil
cdef void mappings_close(Mappings* mappings) noexcept nogil
cdef Mapping* mapping_at(Mappings* mappings, uint32_t slot) noexcept nogil
cdef uint32_t mapping_make(Mappings* mappings, size_t length, uint8_t kind, bint huge) noexcept nogil
cdef size_t mapping_huge_length(Mappings* mappings, size_t length) noexcept nogil
cdef void mapping_seal(Mappings* mappings, uint32_t slot) noexcept nogil
cdef void mapping_registered(Mappings* mappings, uint32_t slot) noexcept nogil
cdef void mapping_hold(Mappings* mappings, uint32_t slot) noexcept nogil
cdef int mapping_let_go(Mappings* mappings, uint32_t slot) noexcept nogil
cdef void mapping_disown(Mappings* mappings, uint32_t slot) noexcept nogil
cdef void mapping_unmap(Mappings* mappings, uint32_t slot) noexcept nogil

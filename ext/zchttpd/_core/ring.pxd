# An open ring, and the only modules that touch liburing: `ring_setup` opens one, here ops become sqes and cqes completions.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from zchttpd._core cimport uring as lib
from zchttpd._core.machine cimport Machine
from zchttpd._core.op cimport Completion, Op

cdef enum:
    BUFFER_GROUP = 0        # of the receive buffers

cdef enum Feature:             # what may be missing, each with its fallback
    FEATURE_DEFER_TASKRUN = 1          # else COOP_TASKRUN, else neither
    FEATURE_MULTISHOT_ACCEPT = 2       # else one accept at a time
    FEATURE_MULTISHOT_RECV = 4         # else one receive at a time
    FEATURE_SEND_ZC = 8                # else copying sends
    FEATURE_REPORT_USAGE = 16          # else nobody knows whether the kernel copied
    FEATURE_SPARSE_BUFFERS = 32        # else no registered buffers, so copying sends
    FEATURE_REGISTERED_RING_FD = 64    # else the plain descriptor
    FEATURE_BUFFER_RING = 256          # else receive buffers are given back one op at a time
    FEATURE_SINGLE_ISSUER = 128        # else the kernel locks the ring, and DEFER_TASKRUN cannot be had
    FEATURE_RESTRICTIONS = 512         # else the ring takes any operation

cdef struct Ring:
    lib.io_uring uring
    lib.io_uring_buf_ring* buffer_ring
    char* buffers           # buffer_count * buffer_size bytes
    uint32_t buffer_count
    uint32_t buffer_size    # bytes
    uint16_t* given         # buffers given back and not yet published
    uint32_t given_count
    uint32_t features          # Feature bits that are there
    uint8_t opened          # the ring exists

cdef void ring_close(Ring* ring) noexcept nogil
cdef void ring_push(Ring* ring, const Op* op) noexcept nogil
cdef void ring_poll(Ring* ring, int32_t fd, uint32_t events, uint64_t token) noexcept nogil
cdef int ring_wait(Ring* ring, int64_t timeout_us) noexcept nogil
cdef uint32_t ring_reap(Ring* ring, Completion* completions, uint32_t count) noexcept nogil
cdef lib.io_uring_sqe* ring_sqe(Ring* ring) noexcept nogil
cdef void ring_give_back(Ring* ring, uint16_t buffer_id) noexcept nogil
cdef void ring_publish(Ring* ring) noexcept nogil
cdef int ring_register(Ring* ring, uint32_t index, void* base, size_t length, uint64_t tag) noexcept nogil
cdef int ring_clear(Ring* ring, uint32_t index) noexcept nogil

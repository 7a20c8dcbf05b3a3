# liburing, declarations only. Reached by one alias: `cimport uring as lib`.

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from posix.types cimport mode_t

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "zc_uring.h" nogil:
    ctypedef uint64_t u64 "__u64"
    cdef struct io_uring_sqe:
        uint8_t opcode
        uint8_t flags
        uint16_t ioprio
        int fd
        uint16_t buf_index
        uint16_t buf_group
        int rw_flags
        uint64_t user_data
    cdef struct io_uring_cqe:
        uint64_t user_data
        int32_t res
        uint32_t flags
    cdef struct io_uring_params:
        uint32_t flags
        uint32_t cq_entries
        uint32_t features
    cdef struct io_uring:
        int ring_fd
    cdef struct io_uring_probe:
        pass
    cdef struct io_uring_buf_ring:
        pass
    cdef struct io_uring_buf_reg:
        uint64_t ring_addr
        uint32_t ring_entries
        uint16_t bgid
    cdef struct io_uring_buf:
        pass
    cdef struct io_uring_restriction:
        uint16_t opcode
        uint8_t register_op
        uint8_t sqe_op
        uint8_t sqe_flags
    cdef struct __kernel_timespec:
        long long tv_sec
        long long tv_nsec

    int io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* params)
    void io_uring_queue_exit(io_uring* ring)
    int io_uring_register_ring_fd(io_uring* ring)
    int io_uring_register "zc_uring_register"(io_uring* ring, unsigned opcode, const void* argument, unsigned count)
    io_uring_probe* io_uring_get_probe_ring(io_uring* ring)
    int io_uring_opcode_supported(const io_uring_probe* probe, int opcode)
    void io_uring_free_probe(io_uring_probe* probe)
    io_uring_sqe* io_uring_get_sqe(io_uring* ring)
    unsigned io_uring_sq_space_left(const io_uring* ring)
    unsigned io_uring_sq_ready(const io_uring* ring)
    int io_uring_submit(io_uring* ring)
    int io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** cqe, unsigned wait_nr,
                                         __kernel_timespec* timeout, void* sigmask)
    int io_uring_wait_cqe(io_uring* ring, io_uring_cqe** cqe)
    int io_uring_get_events(io_uring* ring)
    unsigned io_uring_peek_batch_cqe(io_uring* ring, io_uring_cqe** cqes, unsigned count)
    void io_uring_cq_advance(io_uring* ring, unsigned count)
    int io_uring_register_buffers_sparse(io_uring* ring, unsigned count)
    int io_uring_register_buffers_update_tag(io_uring* ring, unsigned offset, const iovec* iovecs, const u64* tags,
                                             unsigned count)
    int io_uring_register_iowq_max_workers(io_uring* ring, unsigned* values)
    int io_uring_register_buf_ring(io_uring* ring, io_uring_buf_reg* reg, unsigned flags)
    void io_uring_buf_ring_init(io_uring_buf_ring* ring)
    void io_uring_buf_ring_add(io_uring_buf_ring* ring, void* address, unsigned length, unsigned short bid, int mask,
                               int offset)
    void io_uring_buf_ring_advance(io_uring_buf_ring* ring, int count)
    int io_uring_buf_ring_mask(uint32_t entries)

    void io_uring_prep_nop(io_uring_sqe* sqe)
    void io_uring_prep_accept(io_uring_sqe* sqe, int fd, void* address, void* length, int flags)
    void io_uring_prep_multishot_accept(io_uring_sqe* sqe, int fd, void* address, void* length, int flags)
    void io_uring_prep_recv(io_uring_sqe* sqe, int fd, void* buffer, size_t length, int flags)
    void io_uring_prep_recv_multishot(io_uring_sqe* sqe, int fd, void* buffer, size_t length, int flags)
    void io_uring_prep_send(io_uring_sqe* sqe, int fd, const void* buffer, size_t length, int flags)
    void io_uring_prep_send_zc(io_uring_sqe* sqe, int fd, const void* buffer, size_t length, int flags,
                               unsigned zc_flags)
    void io_uring_prep_send_zc_fixed(io_uring_sqe* sqe, int fd, const void* buffer, size_t length, int flags,
                                     unsigned zc_flags, unsigned buf_index)
    void io_uring_prep_read(io_uring_sqe* sqe, int fd, void* buffer, unsigned length, uint64_t offset)
    void io_uring_prep_madvise(io_uring_sqe* sqe, void* address, unsigned length, int advice)
    void io_uring_prep_poll_add(io_uring_sqe* sqe, int fd, unsigned mask)
    void io_uring_prep_close(io_uring_sqe* sqe, int fd)
    void io_uring_prep_cancel64(io_uring_sqe* sqe, uint64_t user_data, int flags)
    void io_uring_prep_cancel_fd(io_uring_sqe* sqe, int fd, unsigned flags)
    void io_uring_prep_provide_buffers(io_uring_sqe* sqe, void* address, int length, int count, int group, int bid)
    void io_uring_sqe_set_data64(io_uring_sqe* sqe, uint64_t user_data)

    enum:
        IORING_SETUP_SINGLE_ISSUER
        IORING_SETUP_DEFER_TASKRUN
        IORING_SETUP_COOP_TASKRUN
        IORING_SETUP_SUBMIT_ALL
        IORING_SETUP_CQSIZE
        IORING_SETUP_CLAMP
        IORING_SETUP_R_DISABLED
        IORING_FEAT_NODROP
        IORING_FEAT_EXT_ARG
        IORING_OP_ACCEPT
        IORING_OP_ASYNC_CANCEL
        IORING_OP_CLOSE
        IORING_OP_MADVISE
        IORING_OP_POLL_ADD
        IORING_OP_PROVIDE_BUFFERS
        IORING_OP_READ
        IORING_OP_RECV
        IORING_OP_SEND
        IORING_OP_SEND_ZC
        IORING_REGISTER_BUFFERS_UPDATE
        IORING_REGISTER_ENABLE_RINGS
        IORING_REGISTER_RESTRICTIONS
        IORING_UNREGISTER_RING_FDS
        IORING_RESTRICTION_REGISTER_OP
        IORING_RESTRICTION_SQE_OP
        IORING_RESTRICTION_SQE_FLAGS_ALLOWED
        IORING_CQE_F_MORE
        IORING_CQE_F_NOTIF
        IORING_CQE_F_BUFFER
        IORING_CQE_BUFFER_SHIFT
        IORING_ASYNC_CANCEL_ALL
        IOSQE_BUFFER_SELECT
        IOSQE_ASYNC
        IOSQE_IO_LINK
        IORING_SEND_ZC_REPORT_USAGE
        IORING_NOTIF_USAGE_ZC_COPIED

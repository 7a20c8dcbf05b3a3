"""The ring in use: ops in, completions out (io_uring_enter(2)). `ring_setup` opens it."""

from libc.errno cimport EAGAIN, EBUSY, EINTR, EINVAL, ENOMEM, EOPNOTSUPP, ETIME
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset
from posix.mman cimport munmap
from posix.unistd cimport usleep

from zchttpd._core.check cimport unlikely, zc_assert
from zchttpd._core.mapping cimport MADV_COLLAPSE
from zchttpd._core.op cimport (
    OP_ACCEPT, OP_ASIDE, OP_CANCEL, OP_CANCEL_ALL, OP_CLOSE, OP_COLLAPSE, OP_FILL, OP_LINK, OP_MORE,
    OP_MULTISHOT, OP_NOWAIT, OP_READ, OP_RECV, OP_SEND, OP_SEND_ZC, OP_WATCH)
from zchttpd._core.uio cimport RWF_NOWAIT

cdef extern from "<sys/socket.h>" nogil:
    enum:
        SOCK_CLOEXEC
        SOCK_NONBLOCK
        MSG_MORE
        MSG_NOSIGNAL
        MSG_DONTWAIT
        MSG_WAITALL

cdef extern from "<poll.h>" nogil:
    enum:
        POLLIN

cdef enum:
    PEEK = 256
    SUBMIT_PAUSE_US = 1000


cdef void ring_close(Ring* ring) noexcept nogil:
    if ring.opened:
        lib.io_uring_queue_exit(&ring.uring)
    if ring.buffer_ring != NULL:
        munmap(ring.buffer_ring, ring.buffer_count * sizeof(lib.io_uring_buf))
    free(ring.buffers)
    free(ring.given)
    memset(ring, 0, sizeof(Ring))


cdef void _submit(Ring* ring) noexcept nogil:
    """Hand over what is there: with nodrop completions this cannot lose any. Where the kernel lacks something for it the
    loop has to wait; of a ring that is broken nothing will ever come, and it is better to start anew."""
    cdef int rc = lib.io_uring_submit(&ring.uring)
    if unlikely(rc < 0):
        zc_assert(rc == -EAGAIN or rc == -EBUSY or rc == -EINTR or rc == -ENOMEM)
        usleep(SUBMIT_PAUSE_US)


cdef lib.io_uring_sqe* ring_sqe(Ring* ring) noexcept nogil:
    """The next sqe, never NULL: a full queue is submitted first."""
    cdef lib.io_uring_sqe* sqe = lib.io_uring_get_sqe(&ring.uring)
    while sqe == NULL:
        _submit(ring)
        sqe = lib.io_uring_get_sqe(&ring.uring)
    return sqe


cdef void ring_push(Ring* ring, const Op* op) noexcept nogil:
    """Prepare the sqe of an op. Submitted with the next wait, or when the queue is full."""
    cdef lib.io_uring_sqe* sqe
    # What waits for room would be woken for nothing by a peer that closes its direction, and end up in a thread.
    cdef int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (MSG_MORE if op.flags & OP_MORE else 0)
    cdef unsigned zc_flags = lib.IORING_SEND_ZC_REPORT_USAGE if ring.features & FEATURE_REPORT_USAGE else 0
    # A chain must not be split between two submissions.
    if op.flags & OP_LINK and lib.io_uring_sq_space_left(&ring.uring) < 2:
        _submit(ring)
    sqe = ring_sqe(ring)
    if op.kind == OP_RECV:
        if ring.features & FEATURE_MULTISHOT_RECV:
            lib.io_uring_prep_recv_multishot(sqe, op.fd, NULL, 0, 0)
        else:
            lib.io_uring_prep_recv(sqe, op.fd, NULL, 0, 0)
        sqe.flags |= lib.IOSQE_BUFFER_SELECT
        sqe.buf_group = BUFFER_GROUP
    elif op.kind == OP_SEND or op.kind == OP_SEND_ZC:
        if op.flags & OP_LINK:
            # Only a whole head may start the window behind it.
            flags |= MSG_WAITALL
        if op.kind == OP_SEND:
            lib.io_uring_prep_send(sqe, op.fd, op.address, op.length, flags)
        elif op.buffer < 0:
            lib.io_uring_prep_send_zc(sqe, op.fd, op.address, op.length, flags, zc_flags)
        else:
            lib.io_uring_prep_send_zc_fixed(sqe, op.fd, op.address, op.length, flags, zc_flags, <unsigned>op.buffer)
        if op.flags & OP_LINK:
            sqe.flags |= lib.IOSQE_IO_LINK
    elif op.kind == OP_READ or op.kind == OP_FILL:
        lib.io_uring_prep_read(sqe, op.fd, op.address, op.length, op.offset)
        if op.flags & OP_NOWAIT:
            sqe.rw_flags = RWF_NOWAIT
        if op.flags & OP_ASIDE:
            sqe.flags |= lib.IOSQE_ASYNC
    elif op.kind == OP_COLLAPSE:
        lib.io_uring_prep_madvise(sqe, op.address, op.length, MADV_COLLAPSE)
    elif op.kind == OP_ACCEPT:
        # A splice waits unless its socket does not block; sends and receives through the ring do not care.
        if op.flags & OP_MULTISHOT:
            lib.io_uring_prep_multishot_accept(sqe, op.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)
        else:
            lib.io_uring_prep_accept(sqe, op.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)
    elif op.kind == OP_WATCH:
        lib.io_uring_prep_poll_add(sqe, op.fd, POLLIN)
    elif op.kind == OP_CANCEL:
        lib.io_uring_prep_cancel64(sqe, op.offset, 0)
    elif op.kind == OP_CANCEL_ALL:
        lib.io_uring_prep_cancel_fd(sqe, op.fd, lib.IORING_ASYNC_CANCEL_ALL)
    elif op.kind == OP_CLOSE:
        lib.io_uring_prep_close(sqe, op.fd)
    else:
        zc_assert(False)
    lib.io_uring_sqe_set_data64(sqe, op.token)


cdef void ring_poll(Ring* ring, int32_t fd, uint32_t events, uint64_t token) noexcept nogil:
    """Prepare the sqe of a poll, which ends once: io_uring adds POLLRDHUP to `events`."""
    cdef lib.io_uring_sqe* sqe = ring_sqe(ring)
    lib.io_uring_prep_poll_add(sqe, fd, events)
    lib.io_uring_sqe_set_data64(sqe, token)


cdef int ring_wait(Ring* ring, int64_t timeout_us) noexcept nogil:
    """Submit, and wait until a completion is there or `timeout_us` has passed. Returns 0 or -errno."""
    cdef lib.__kernel_timespec timeout
    cdef lib.io_uring_cqe* cqe = NULL
    timeout.tv_sec = timeout_us // 1000000
    timeout.tv_nsec = timeout_us % 1000000 * 1000
    cdef int rc = lib.io_uring_submit_and_wait_timeout(&ring.uring, &cqe, 1, &timeout, NULL)
    return rc if rc < 0 and rc != -ETIME else 0


cdef uint32_t ring_reap(Ring* ring, Completion* completions, uint32_t count) noexcept nogil:
    """Copy up to `count` completions out, so that acting on them cannot disturb the queue. Returns how many."""
    cdef lib.io_uring_cqe* cqes[256]
    cdef uint32_t taken = lib.io_uring_peek_batch_cqe(&ring.uring, cqes, min(count, <uint32_t>PEEK))
    cdef uint32_t i
    cdef lib.io_uring_cqe* cqe
    cdef Completion* completion
    for i in range(taken):
        cqe = cqes[i]
        completion = &completions[i]
        completion.token = cqe.user_data
        completion.res = cqe.res
        completion.more = cqe.flags & lib.IORING_CQE_F_MORE != 0
        completion.notification = cqe.flags & lib.IORING_CQE_F_NOTIF != 0
        completion.has_buffer = cqe.flags & lib.IORING_CQE_F_BUFFER != 0
        completion.buffer_id = <uint16_t>(cqe.flags >> lib.IORING_CQE_BUFFER_SHIFT)
        completion.bytes = ring.buffers + <size_t>completion.buffer_id * ring.buffer_size
        completion.peer = NULL
    lib.io_uring_cq_advance(&ring.uring, taken)
    return taken


cdef void ring_give_back(Ring* ring, uint16_t buffer_id) noexcept nogil:
    """The receive buffer may be filled again, once published."""
    zc_assert(ring.given_count < ring.buffer_count)
    ring.given[ring.given_count] = buffer_id
    ring.given_count += 1


cdef void ring_publish(Ring* ring) noexcept nogil:
    """Let the kernel have the buffers that were given back."""
    cdef uint32_t i
    cdef uint16_t buffer_id
    cdef char* buffer
    cdef lib.io_uring_sqe* sqe
    for i in range(ring.given_count):
        buffer_id = ring.given[i]
        buffer = ring.buffers + <size_t>buffer_id * ring.buffer_size
        if ring.features & FEATURE_BUFFER_RING:
            lib.io_uring_buf_ring_add(ring.buffer_ring, buffer, ring.buffer_size, buffer_id,
                                      lib.io_uring_buf_ring_mask(ring.buffer_count), <int>i)
        else:
            sqe = ring_sqe(ring)
            lib.io_uring_prep_provide_buffers(sqe, buffer, <int>ring.buffer_size, 1, BUFFER_GROUP, buffer_id)
            # Nobody waits for it.
            lib.io_uring_sqe_set_data64(sqe, 0)
    if ring.features & FEATURE_BUFFER_RING:
        lib.io_uring_buf_ring_advance(ring.buffer_ring, <int>ring.given_count)
    ring.given_count = 0


cdef int ring_register(Ring* ring, uint32_t index, void* base, size_t length, uint64_t tag) noexcept nogil:
    """Put memory into the table of registered buffers; `tag` comes back as a completion when the kernel has let go of
    it. Returns 0 or -errno: -ENOMEM when RLIMIT_MEMLOCK is used up."""
    cdef lib.iovec vector
    cdef lib.u64 word = tag
    vector.iov_base = base
    vector.iov_len = length
    if not ring.features & FEATURE_SPARSE_BUFFERS:
        return -EOPNOTSUPP
    cdef int rc = lib.io_uring_register_buffers_update_tag(&ring.uring, index, &vector, &word, 1)
    return 0 if rc == 1 else (rc if rc < 0 else -EINVAL)


cdef int ring_clear(Ring* ring, uint32_t index) noexcept nogil:
    """Clear a slot of the table. Sends under way keep reading; the tag comes when the last of them is done."""
    cdef lib.iovec vector
    cdef lib.u64 word = 0
    vector.iov_base = NULL
    vector.iov_len = 0
    cdef int rc = lib.io_uring_register_buffers_update_tag(&ring.uring, index, &vector, &word, 1)
    return 0 if rc == 1 else (rc if rc < 0 else -EINVAL)

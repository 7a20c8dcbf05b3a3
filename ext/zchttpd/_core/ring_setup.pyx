"""Opening the ring: as well as this kernel allows, probed once (io_uring_setup(2), io_uring_register(2))."""

from libc.errno cimport EACCES, EINVAL, ENOMEM, ENOSYS
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memset
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport close, write

from zchttpd._core cimport uring as lib
from zchttpd._core.machine cimport READ_QUEUES, READS_MAX
from zchttpd._core.ring cimport (
    BUFFER_GROUP, FEATURE_BUFFER_RING, FEATURE_DEFER_TASKRUN, FEATURE_MULTISHOT_ACCEPT, FEATURE_MULTISHOT_RECV,
    FEATURE_REGISTERED_RING_FD, FEATURE_REPORT_USAGE, FEATURE_RESTRICTIONS, FEATURE_SEND_ZC, FEATURE_SINGLE_ISSUER,
    FEATURE_SPARSE_BUFFERS, Ring, ring_clear, ring_close, ring_give_back, ring_publish, ring_register, ring_sqe)

import errno as errno_names

cdef extern from "<sys/socket.h>" nogil:
    enum:
        AF_UNIX
        SOCK_STREAM
        SOCK_CLOEXEC
        MSG_NOSIGNAL
        SHUT_RDWR
    int socketpair(int domain, int type, int protocol, int* fds)
    int shutdown(int fd, int how)

cdef enum:
    QUESTION = 1        # token of what the probe asks
    PAGE = 4096
    AT_ONCE_NS = 300000000  # the kernels that put it off do so for a second
    FILE_THREADS = (READ_QUEUES - 1) * READS_MAX

FEATURES = {
    "defer_taskrun": FEATURE_DEFER_TASKRUN,
    "multishot_accept": FEATURE_MULTISHOT_ACCEPT,
    "multishot_recv": FEATURE_MULTISHOT_RECV,
    "send_zc": FEATURE_SEND_ZC,
    "report_usage": FEATURE_REPORT_USAGE,
    "sparse_buffers": FEATURE_SPARSE_BUFFERS,
    "registered_ring_fd": FEATURE_REGISTERED_RING_FD,
    "single_issuer": FEATURE_SINGLE_ISSUER,
    "buffer_ring": FEATURE_BUFFER_RING,
    "restrictions": FEATURE_RESTRICTIONS,
}

# All that is asked of an open ring, here and in `ring`.
cdef uint8_t[10] SQE_OPS
SQE_OPS[:] = [
    lib.IORING_OP_ACCEPT, lib.IORING_OP_RECV, lib.IORING_OP_SEND, lib.IORING_OP_SEND_ZC, lib.IORING_OP_READ,
    lib.IORING_OP_MADVISE, lib.IORING_OP_POLL_ADD, lib.IORING_OP_ASYNC_CANCEL, lib.IORING_OP_CLOSE,
    lib.IORING_OP_PROVIDE_BUFFERS]

cdef enum:
    SQE_FLAGS = lib.IOSQE_BUFFER_SELECT | lib.IOSQE_IO_LINK | lib.IOSQE_ASYNC
    RESTRICTIONS_MAX = 10 + 1 + 2   # operations, flags, register operations

# Submission and completion queue: the ring's own memory counts against RLIMIT_MEMLOCK on some kernels, so it shrinks
# before it fails.
cdef uint32_t[3] SQ_SIZES
SQ_SIZES[:] = [2048, 256, 64]
cdef uint32_t[3] CQ_SIZES
CQ_SIZES[:] = [32768, 4096, 512]


cdef int _set_up(Ring* ring, uint32_t flags) noexcept nogil:
    cdef lib.io_uring_params params
    cdef int rc = -ENOMEM
    cdef int size = 0
    while rc == -ENOMEM and size < 3:
        memset(&params, 0, sizeof(params))
        params.flags = flags | lib.IORING_SETUP_CQSIZE | lib.IORING_SETUP_CLAMP
        params.cq_entries = CQ_SIZES[size]
        rc = lib.io_uring_queue_init_params(SQ_SIZES[size], &ring.uring, &params)
        size += 1
    if rc < 0:
        return rc
    # Waiting with a timeout, and no lost completion when the queue is full: kernels that have buffer rings have both.
    if not params.features & lib.IORING_FEAT_EXT_ARG or not params.features & lib.IORING_FEAT_NODROP:
        lib.io_uring_queue_exit(&ring.uring)
        return -ENOSYS
    return 0


cdef int ring_open(Ring* ring, uint32_t without, uint32_t buffer_count, uint32_t buffer_size,
                   uint32_t table_size) noexcept nogil:
    """Set the ring up as well as this kernel allows, less the features in `without`.

    `buffer_count` (a power of two) receive buffers of `buffer_size` bytes, and a table for `table_size` registered
    buffers. Returns 0 or -errno, then nothing is held: -EPERM and -ENOSYS mean that io_uring is refused.
    """
    cdef uint32_t cooperative = lib.IORING_SETUP_COOP_TASKRUN | lib.IORING_SETUP_SUBMIT_ALL
    cdef uint32_t deferred = (lib.IORING_SETUP_SINGLE_ISSUER | lib.IORING_SETUP_DEFER_TASKRUN
                              | lib.IORING_SETUP_SUBMIT_ALL)
    # Only a ring that is not enabled yet can be restricted.
    cdef uint32_t disabled = 0 if without & FEATURE_RESTRICTIONS else lib.IORING_SETUP_R_DISABLED
    cdef int rc = -EINVAL
    memset(ring, 0, sizeof(Ring))
    if not without & (FEATURE_DEFER_TASKRUN | FEATURE_SINGLE_ISSUER):
        rc = _set_up(ring, deferred | disabled)
        if rc == 0:
            ring.features |= FEATURE_DEFER_TASKRUN | FEATURE_SINGLE_ISSUER
    if rc == -EINVAL and not without & FEATURE_SINGLE_ISSUER:
        rc = _set_up(ring, cooperative | lib.IORING_SETUP_SINGLE_ISSUER | disabled)
        if rc == 0:
            ring.features |= FEATURE_SINGLE_ISSUER
    if rc == -EINVAL:
        rc = _set_up(ring, cooperative | disabled)
    if rc == -EINVAL:
        disabled = 0
        rc = _set_up(ring, 0)
    if rc < 0:
        return rc
    ring.opened = 1
    rc = _register(ring, without, buffer_count, buffer_size, table_size)
    if rc == 0 and disabled:
        _restrict(ring)
        rc = lib.io_uring_register(&ring.uring, lib.IORING_REGISTER_ENABLE_RINGS, NULL, 0)
    if rc < 0:
        ring_close(ring)
        return rc
    _probe(ring, without)
    return 0


cdef int _register(Ring* ring, uint32_t without, uint32_t buffer_count, uint32_t buffer_size,
                   uint32_t table_size) noexcept nogil:
    """Register what stays registered. Returns 0 or -errno."""
    cdef int rc = _open_buffers(ring, without, buffer_count, buffer_size)
    cdef unsigned[2] workers
    if rc < 0:
        return rc
    # For files: as many as devices may have reads under way, else one that hangs could keep the threads of all. The others,
    # for what never waits for a disk, stay as they are; so do all before Linux 5.15.
    workers[:] = [FILE_THREADS, 0]
    lib.io_uring_register_iowq_max_workers(&ring.uring, workers)
    if not without & FEATURE_REGISTERED_RING_FD and lib.io_uring_register_ring_fd(&ring.uring) == 1:
        ring.features |= FEATURE_REGISTERED_RING_FD
    if not without & FEATURE_SPARSE_BUFFERS and lib.io_uring_register_buffers_sparse(&ring.uring, table_size) == 0:
        ring.features |= FEATURE_SPARSE_BUFFERS
    # Nothing but a connection tells whether accept can be multishot: taken for granted until one says -EINVAL.
    if not without & FEATURE_MULTISHOT_ACCEPT:
        ring.features |= FEATURE_MULTISHOT_ACCEPT
    cdef lib.io_uring_probe* probe = lib.io_uring_get_probe_ring(&ring.uring)
    if probe != NULL:
        if not without & FEATURE_SEND_ZC and lib.io_uring_opcode_supported(probe, lib.IORING_OP_SEND_ZC):
            ring.features |= FEATURE_SEND_ZC
        lib.io_uring_free_probe(probe)
    return 0


cdef int _open_buffers(Ring* ring, uint32_t without, uint32_t buffer_count, uint32_t buffer_size) noexcept nogil:
    cdef lib.io_uring_buf_reg reg
    cdef size_t ring_bytes = buffer_count * sizeof(lib.io_uring_buf)
    cdef void* place = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if place == MAP_FAILED:
        return -ENOMEM
    ring.buffer_ring = <lib.io_uring_buf_ring*>place
    ring.buffer_count = buffer_count
    ring.buffer_size = buffer_size
    memset(&reg, 0, sizeof(reg))
    reg.ring_addr = <uint64_t><size_t>place
    reg.ring_entries = buffer_count
    reg.bgid = BUFFER_GROUP
    if not without & FEATURE_BUFFER_RING and lib.io_uring_register_buf_ring(&ring.uring, &reg, 0) == 0:
        ring.features |= FEATURE_BUFFER_RING
        lib.io_uring_buf_ring_init(ring.buffer_ring)
    ring.buffers = <char*>malloc(<size_t>buffer_count * buffer_size)
    ring.given = <uint16_t*>malloc(buffer_count * sizeof(uint16_t))
    return -ENOMEM if ring.buffers == NULL or ring.given == NULL else 0


cdef void _restrict(Ring* ring) noexcept nogil:
    """Have the ring refuse what is not asked of it here and in `ring` (IORING_REGISTER_RESTRICTIONS), once it is enabled."""
    cdef lib.io_uring_restriction[RESTRICTIONS_MAX] allowed
    cdef unsigned count = 0
    cdef uint32_t i
    memset(allowed, 0, sizeof(allowed))
    for i in range(sizeof(SQE_OPS)):
        # An operation that the kernel does not know is refused here too.
        if SQE_OPS[i] != lib.IORING_OP_SEND_ZC or ring.features & FEATURE_SEND_ZC:
            allowed[count].opcode = lib.IORING_RESTRICTION_SQE_OP
            allowed[count].sqe_op = SQE_OPS[i]
            count += 1
    allowed[count].opcode = lib.IORING_RESTRICTION_SQE_FLAGS_ALLOWED
    allowed[count].sqe_flags = SQE_FLAGS
    count += 1
    if ring.features & FEATURE_SPARSE_BUFFERS:
        allowed[count].opcode = lib.IORING_RESTRICTION_REGISTER_OP
        allowed[count].register_op = lib.IORING_REGISTER_BUFFERS_UPDATE
        count += 1
    if ring.features & FEATURE_REGISTERED_RING_FD:
        # When it is closed.
        allowed[count].opcode = lib.IORING_RESTRICTION_REGISTER_OP
        allowed[count].register_op = lib.IORING_UNREGISTER_RING_FDS
        count += 1
    # Whether it came to that is asked of the ring.
    lib.io_uring_register(&ring.uring, lib.IORING_REGISTER_RESTRICTIONS, allowed, count)


cdef int _answer(Ring* ring, uint32_t* flags) noexcept nogil:
    """Submit what was prepared and take the next completion of a question. Returns its result."""
    cdef lib.io_uring_cqe* cqe = NULL
    cdef uint64_t token = 0
    cdef int rc = lib.io_uring_submit(&ring.uring)
    while rc >= 0 and token == 0:
        rc = lib.io_uring_wait_cqe(&ring.uring, &cqe)
        if rc < 0:
            break
        token = cqe.user_data
        rc = cqe.res if token else 0
        flags[0] = cqe.flags
        lib.io_uring_cq_advance(&ring.uring, 1)
    if rc >= 0 and flags[0] & lib.IORING_CQE_F_BUFFER:
        ring_give_back(ring, <uint16_t>(flags[0] >> lib.IORING_CQE_BUFFER_SHIFT))
        ring_publish(ring)
    return rc


cdef void _probe(Ring* ring, uint32_t without) noexcept nogil:
    """Give the kernel the receive buffers, and ask for features by using them."""
    cdef lib.io_uring_sqe* sqe
    cdef uint32_t flags = 0
    cdef int[2] pair
    cdef uint32_t i
    for i in range(ring.buffer_count):
        ring_give_back(ring, <uint16_t>i)
    ring_publish(ring)
    sqe = ring_sqe(ring)
    lib.io_uring_prep_nop(sqe)
    lib.io_uring_sqe_set_data64(sqe, QUESTION)
    if _answer(ring, &flags) == -EACCES:
        ring.features |= FEATURE_RESTRICTIONS
    if socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0:
        _probe_sockets(ring, without, pair)
        close(pair[0])
        close(pair[1])


cdef void _probe_sockets(Ring* ring, uint32_t without, int* pair) noexcept nogil:
    """The kernel checks flags before it looks at the socket, so one that cannot zero-copy answers -EOPNOTSUPP where an
    unknown flag answers -EINVAL."""
    cdef uint32_t flags = 0
    cdef lib.io_uring_sqe* sqe
    cdef int res
    if not without & FEATURE_MULTISHOT_RECV and write(pair[1], b"?", 1) == 1:
        sqe = ring_sqe(ring)
        lib.io_uring_prep_recv_multishot(sqe, pair[0], NULL, 0, 0)
        sqe.flags |= lib.IOSQE_BUFFER_SELECT
        sqe.buf_group = BUFFER_GROUP
        lib.io_uring_sqe_set_data64(sqe, QUESTION)
        res = _answer(ring, &flags)
        if res == 1:
            ring.features |= FEATURE_MULTISHOT_RECV
        if flags & lib.IORING_CQE_F_MORE:
            shutdown(pair[0], SHUT_RDWR)
            _answer(ring, &flags)
    if ring.features & FEATURE_SEND_ZC and not without & FEATURE_REPORT_USAGE:
        sqe = ring_sqe(ring)
        lib.io_uring_prep_send_zc(sqe, pair[1], b"?", 1, MSG_NOSIGNAL, lib.IORING_SEND_ZC_REPORT_USAGE)
        lib.io_uring_sqe_set_data64(sqe, QUESTION)
        res = _answer(ring, &flags)
        if flags & lib.IORING_CQE_F_MORE:
            _answer(ring, &flags)
        if res != -EINVAL:
            ring.features |= FEATURE_REPORT_USAGE


cdef bint _comes_back(Ring* ring) noexcept nogil:
    """Whether the tag of what was let go is there before AT_ONCE_NS have passed."""
    cdef lib.io_uring_cqe* cqe = NULL
    cdef lib.__kernel_timespec timeout
    cdef uint64_t token
    timeout.tv_sec = 0
    timeout.tv_nsec = AT_ONCE_NS
    while lib.io_uring_submit_and_wait_timeout(&ring.uring, &cqe, 1, &timeout, NULL) >= 0 and cqe != NULL:
        token = cqe.user_data
        lib.io_uring_cq_advance(&ring.uring, 1)
        if token == QUESTION:
            return True
    return False


def gives_back_at_once() -> bool | None:
    """Whether registered memory that no send reads comes back as soon as it is let go (Linux 6.4), or a second later. None
    where none can be registered. Opens a ring and closes it."""
    cdef Ring ring
    cdef void* page
    found = None
    if ring_open(&ring, 0, 8, 256, 8) < 0:
        return None
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if page != MAP_FAILED and ring_register(&ring, 0, page, PAGE, QUESTION) == 0 and ring_clear(&ring, 0) == 0:
        found = bool(_comes_back(&ring))
    ring_close(&ring)
    if page != MAP_FAILED:
        munmap(page, PAGE)
    return found


def probe(tuple without=()) -> dict:
    """What this kernel lets this user have: {"error": errno name or "", feature: bool, ...}. Opens a ring and closes it."""
    cdef Ring ring
    cdef uint32_t left_out = 0
    for name in without:
        left_out |= FEATURES[name]
    cdef int rc = ring_open(&ring, left_out, 8, 256, 8)
    found = {"error": "" if rc == 0 else errno_names.errorcode.get(-rc, str(-rc))}
    for name, bit in FEATURES.items():
        found[name] = rc == 0 and bool(ring.features & <uint32_t>bit)
    if rc == 0:
        ring_close(&ring)
    return found

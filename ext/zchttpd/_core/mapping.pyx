"""Mappings: memory that holds bytes of a file, counted references, unmapped when nobody reads them.

File-backed memory cannot be registered with io_uring on most file systems (EFAULT, io_uring_register(2)), and a snapshot
cannot tear; both speak for memory of our own. Our own code never reads a mapping, it only hands it to the kernel.

Where the driver sends by reference, a snapshot is a memory file (memfd_create(2)). Once filled it is sealed: nobody can
write its pages any more, so it may be closed and unmapped while they still lie in queues of sockets. They live on there.
"""

from libc.stdint cimport uint8_t, uint32_t, uintptr_t
from posix.mman cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE, madvise, mmap, munmap)
from posix.types cimport off_t
from posix.unistd cimport close, ftruncate

from zchttpd._core.check cimport zc_assert
from zchttpd._core.memory cimport memory_is_over, memory_refuses
from zchttpd._core.slab cimport slab_close, slab_give, slab_open, slab_row, slab_take
from zchttpd._core.token cimport NO_SLOT

cdef extern from "<sys/mman.h>" nogil:
    int MADV_NOHUGEPAGE
    unsigned MFD_CLOEXEC
    unsigned MFD_ALLOW_SEALING
    int memfd_create(const char* name, unsigned flags)

cdef extern from "<fcntl.h>" nogil:
    enum:
        F_ADD_SEALS
        F_SEAL_SHRINK
        F_SEAL_GROW
        F_SEAL_FUTURE_WRITE
    int fcntl(int fd, int command, int value)
    int fallocate(int fd, int mode, off_t offset, off_t length)

cdef enum:
    PAGE = 4096


cdef int mappings_open(Mappings* mappings, uint32_t capacity, Stats* stats) noexcept nogil:
    """Room for `capacity` mappings. Returns 0 or -ENOMEM."""
    mappings.stats = stats
    mappings.memfds_max = capacity
    return slab_open(&mappings.slab, sizeof(Mapping), capacity)


cdef void mappings_close(Mappings* mappings) noexcept nogil:
    """Unmap whatever is left. Only after the ring is gone and no send can be under way."""
    cdef uint32_t slot
    cdef Mapping* mapping
    for slot in range(mappings.slab.fresh):
        mapping = mapping_at(mappings, slot)
        if mapping.base != NULL:
            munmap(mapping.base, mapping.capacity)
            if mapping.memfd >= 0:
                close(mapping.memfd)
    slab_close(&mappings.slab)


cdef Mapping* mapping_at(Mappings* mappings, uint32_t slot) noexcept nogil:
    return <Mapping*>slab_row(&mappings.slab, slot)


cdef uint32_t mapping_make(Mappings* mappings, size_t length, uint8_t kind, bint huge) noexcept nogil:
    """Memory for `length` > 0 bytes, with one reference: the owner's. NO_SLOT when there is no slot or no memory. `huge`: in
    huge pages, if it is a memory file; they are made by collapsing it."""
    cdef size_t capacity = (length + PAGE - 1) // PAGE * PAGE
    cdef size_t huge_length = 0
    cdef char* base
    cdef int memfd = -1
    cdef uint32_t slot = slab_take(&mappings.slab)
    if slot == NO_SLOT:
        return NO_SLOT
    if (kind == MAPPING_SNAPSHOT and mappings.memfd_size_min and length >= mappings.memfd_size_min
            and mappings.memfds < mappings.memfds_max):
        huge_length = mapping_huge_length(mappings, length) if huge else 0
        memfd = _memory_file(length, huge_length, mappings.huge_size)
        if memfd < 0:
            huge_length = 0
        capacity = max(capacity, huge_length)
    base = <char*>MAP_FAILED
    if not memory_refuses():
        base = _map(capacity, memfd, mappings.huge_size if huge_length else 0)
    if base == <char*>MAP_FAILED:
        if memfd >= 0:
            close(memfd)
        slab_give(&mappings.slab, slot)
        return NO_SLOT
    # The kernel charges a zero-copy send for the offset in its page as well: in a huge page that is up to 2 MiB a
    # fragment, socket budgets are used up by air, and receivers with small buffers starve. Also where huge pages are the
    # rule. What leaves by reference is charged for its bytes alone.
    if not huge_length:
        madvise(base, capacity, MADV_NOHUGEPAGE)
    cdef Mapping* mapping = mapping_at(mappings, slot)
    mapping.base = base
    mapping.length = length
    mapping.capacity = capacity
    mapping.buffer = -1
    mapping.fd = -1
    mapping.memfd = memfd
    mappings.memfds += memfd >= 0
    mapping.huge = huge_length
    mapping.refs = 1
    mapping.kind = kind
    mapping.next = NO_SLOT
    # Windows count while they are out of the pool.
    if kind == MAPPING_WINDOW:
        mappings.stats.pool_bytes += capacity
    else:
        mappings.stats.mappings_open += 1
        mappings.stats.mapped_bytes += capacity
    return slot


cdef size_t mapping_huge_length(Mappings* mappings, size_t length) noexcept nogil:
    """Bytes of the huge pages for `length` bytes: the last is one only if it gets at least half full."""
    if not mappings.huge_size:
        return 0
    return (length + mappings.huge_size // 2) // mappings.huge_size * mappings.huge_size


cdef char* _map(size_t capacity, int memfd, size_t alignment) noexcept nogil:
    """A mapping of a memory file, or of anonymous memory where `memfd` is -1, at a multiple of `alignment`, or anywhere if
    that is 0. MAP_FAILED if there is no memory."""
    cdef int flags = MAP_SHARED if memfd >= 0 else MAP_PRIVATE | MAP_ANONYMOUS
    cdef char* space
    cdef char* base
    if not alignment:
        return <char*>mmap(NULL, capacity, PROT_READ | PROT_WRITE, flags, memfd, 0)
    space = <char*>mmap(NULL, capacity + alignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if space == <char*>MAP_FAILED:
        return space
    base = space + (alignment - <uintptr_t>space % alignment) % alignment
    if base > space:
        munmap(space, base - space)
    munmap(base + capacity, space + alignment - base)
    if mmap(base, capacity, PROT_READ | PROT_WRITE, flags | MAP_FIXED, memfd, 0) == MAP_FAILED:
        munmap(base, capacity)
        return <char*>MAP_FAILED
    return base


cdef int _memory_file(size_t length, size_t huge_length, size_t huge_size) noexcept nogil:
    """One for so many bytes, whole huge pages if it has those, or -1 when there is no descriptor: then the memory is
    anonymous, and copied from."""
    cdef int memfd = -1 if memory_refuses() else memfd_create("snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING)
    cdef size_t offset = 0
    if memfd >= 0 and ftruncate(memfd, <off_t>max(length, huge_length)) < 0:
        close(memfd)
        return -1
    # Nothing is collapsed where there is no page at all.
    while memfd >= 0 and offset < huge_length:
        fallocate(memfd, 0, <off_t>offset, PAGE)
        offset += huge_size
    return memfd


cdef void mapping_seal(Mappings* mappings, uint32_t slot) noexcept nogil:
    """It has been filled, and is never written to again."""
    cdef Mapping* mapping = mapping_at(mappings, slot)
    if mapping.memfd >= 0:
        fcntl(mapping.memfd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)


cdef void mapping_registered(Mappings* mappings, uint32_t slot) noexcept nogil:
    """The kernel has it in the buffer table now."""
    cdef Mapping* mapping = mapping_at(mappings, slot)
    mapping.buffer = <int>slot
    mappings.stats.registered_bytes += mapping.capacity


cdef void mapping_hold(Mappings* mappings, uint32_t slot) noexcept nogil:
    mapping_at(mappings, slot).refs += 1


cdef int mapping_let_go(Mappings* mappings, uint32_t slot) noexcept nogil:
    """Drop one reference. Returns a MappingRest: what the last one leaves to do."""
    cdef Mapping* mapping = mapping_at(mappings, slot)
    zc_assert(mapping.refs > 0)
    mapping.refs -= 1
    if mapping.refs > 0:
        return REST_NOTHING
    # The promise of this program: no memory goes while the kernel may read it.
    zc_assert(mapping.leases == 0)
    if mapping.kind == MAPPING_WINDOW:
        return REST_POOL
    if mapping.buffer >= 0:
        return REST_CLEAR
    mapping_unmap(mappings, slot)
    return REST_NOTHING


cdef void mapping_disown(Mappings* mappings, uint32_t slot) noexcept nogil:
    """Its owner is about to let go: from here on it is a zombie for as long as others hold it."""
    cdef Mapping* mapping = mapping_at(mappings, slot)
    if mapping.refs > 1 and not mapping.zombie:
        mapping.zombie = 1
        mappings.stats.zombies_open += 1


cdef void mapping_unmap(Mappings* mappings, uint32_t slot) noexcept nogil:
    """The memory goes back to the system. Nobody holds it and the kernel has let go of it."""
    cdef Mapping* mapping = mapping_at(mappings, slot)
    zc_assert(mapping.refs == 0 and mapping.leases == 0)
    # Pages of memory files live on in the queues of sockets.
    if mapping.memfd < 0:
        memory_is_over(mapping.base, mapping.capacity)
    munmap(mapping.base, mapping.capacity)
    if mapping.memfd >= 0:
        close(mapping.memfd)
        mappings.memfds -= 1
    if mapping.buffer >= 0:
        mappings.stats.registered_bytes -= mapping.capacity
    if mapping.zombie:
        mappings.stats.zombies_open -= 1
    if mapping.kind == MAPPING_WINDOW:
        mappings.stats.pool_bytes -= mapping.capacity
    else:
        mappings.stats.mappings_open -= 1
        mappings.stats.mapped_bytes -= mapping.capacity
    mapping.base = NULL
    slab_give(&mappings.slab, slot)

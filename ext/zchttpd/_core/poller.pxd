# The readiness driver's engine room: ops are executed by plain system calls, at once or when epoll(7) says so, and come
# back as completions. It stands where `ring` stands, without liburing, and keeps no policy either.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from zchttpd._core.completions cimport Completions
from zchttpd._core.epoll cimport epoll_event
from zchttpd._core.op cimport Completion, Op
from zchttpd._core.pipes cimport Pipe, Pipes
from zchttpd._core.readers cimport Readers
from zchttpd._core.sends cimport Sends
from zchttpd._core.tls cimport TlsRow
from zchttpd._core.zerocopy cimport Unnotified, Zerocopy

cdef enum DescriptorKind:
    DESCRIPTOR_SOCKET = 0
    DESCRIPTOR_LISTENER = 1
    DESCRIPTOR_WATCHED = 2
    DESCRIPTOR_READERS = 3  # where threads tell that reads are done

cdef struct Descriptor:     # what is armed on one
    uint64_t arrive         # token of what waits for bytes, connections or readability; 0 when nothing does
    uint64_t room           # token of a poll for room to write; 0 when there is none
    uint64_t closing        # token of a close that waits for the last notification; 0 when there is none
    Pipe* pipe              # with what is left of a splice, or NULL
    Unnotified unnotified
    TlsRow tls
    uint32_t events         # that the epoll set has for it; 0 when it is not in the set
    uint8_t kind            # DescriptorKind
    uint8_t changed         # it is in the list of those whose events have to be set anew

cdef struct Poller:
    int epoll               # readable while there is something to do: to be watched, level-triggered
    Descriptor* descriptors     # by number
    uint32_t descriptor_count
    int32_t* changed
    uint32_t changed_count
    uint32_t changed_capacity
    epoll_event* events   # of the last wait
    uint32_t event_at       # the first that has not been acted on
    uint32_t event_count
    Completions done        # not reaped yet
    char* buffers           # buffer_count * buffer_size bytes
    uint16_t* free_buffers
    uint32_t free_count
    uint32_t buffer_count
    uint32_t buffer_size    # bytes
    Sends pushed            # the first of a linked pair, until the second comes
    Pipes pipes
    Zerocopy zerocopy
    Readers* readers
    void* tls               # a TlsLayer, or NULL

cdef int poller_open(Poller* poller, uint32_t buffer_count, uint32_t buffer_size) noexcept nogil
cdef uint32_t poller_close(Poller* poller) noexcept nogil
cdef void poller_push(Poller* poller, const Op* op) noexcept nogil
cdef int poller_wait(Poller* poller, int64_t timeout_us) noexcept nogil
cdef bint poller_has_more(Poller* poller) noexcept nogil
cdef uint32_t poller_reap(Poller* poller, Completion* completions, uint32_t count) noexcept nogil
cdef void poller_give_back(Poller* poller, uint16_t buffer_id) noexcept nogil

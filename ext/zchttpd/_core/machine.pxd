# The state that completions act on: connections, mappings, leases, plans, and the ops of this batch.
# No ring, no clock, no Python: time is set by whoever drives it.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from zchttpd._core.access_record cimport AccessRecords
from zchttpd._core.cache_key cimport CACHE_KEY_SIZE_MAX
from zchttpd._core.http_date cimport HttpDate
from zchttpd._core.lease cimport Ledger
from zchttpd._core.live_map cimport LiveMap
from zchttpd._core.mapping cimport Mappings
from zchttpd._core.networks cimport Networks
from zchttpd._core.op cimport Op, Peer
from zchttpd._core.plans cimport PlanTable, Segment
from zchttpd._core.queues cimport Queues
from zchttpd._core.recv_buffer cimport HeadFramer, RecvBuffer
from zchttpd._core.site cimport Site
from zchttpd._core.slab cimport Slab
from zchttpd._core.stats cimport Stats
from zchttpd._core.timer_wheel cimport TimerWheel
from zchttpd._core.version cimport Version

cdef enum SendMode:
    SEND_PLAIN = 0
    SEND_ZEROCOPY = 1
    SEND_AUTO = 2

cdef enum ConnState:
    CONN_READING = 1    # waits for a head, or for the rest of one
    CONN_PARKED = 2     # the handler has the head
    CONN_SENDING = 3    # a response is on its way
    CONN_LINGERING = 4  # our direction is closed; what still comes is discarded
    CONN_CLOSING = 5    # waits for the last completions of its ops
    CONN_GREETING = 6   # waits for the header of the PROXY protocol, which comes before the first head

cdef enum ConnFlag:
    CONN_RECV_ARMED = 1
    CONN_RECV_ENDING = 2    # its receive is being cancelled
    CONN_PEER_DONE = 4      # the peer has closed its direction
    CONN_NO_ZEROCOPY = 8    # its socket refuses zero copy
    CONN_CRLF_SKIPPED = 16  # the one empty line before a request line (RFC 9112 section 2.2) has been used up
    CONN_IMAGE_OWN = 32     # `image` is a copy of its own, of the first segment
    CONN_REJECTED = 64      # came above the limit, and is told 503
    CONN_POLLING = 128      # a poll is under way

cdef enum:
    HELD_SMALL = 4096   # bytes that are never refused: what one request and one answer without a body take

cdef enum:
    ROUTE_UNKNOWN = 0xFF    # nobody has needed it yet

cdef enum:
    NO_RATE = 0xFFFFFFFFFFFFFFFF

cdef enum:
    REFUSED_HEAD = 1000     # more than the status that refuses what began as a HEAD request,
    REFUSED_KEEPS = 2000    # and where the connection goes on

cdef enum:
    NO_LIMIT = 0xFFFFFFFF

cdef enum:
    STREAM_WINDOWS = 8

cdef enum LiveSend:
    LIVE_NONE = 0
    LIVE_COPIED = 1     # fixed when its result is in
    LIVE_REFERRED = 2   # by zero copy, or by reference

cdef struct Stream:           # a large file on its way, straight from its mapping or through windows
    uint64_t read_at        # file offset of what comes next: of the next read, or of what is sent from the mapping
    uint64_t end            # one past the last byte of the segment
    uint32_t reading        # window being filled, or NO_SLOT
    uint32_t reading_have   # bytes in it
    uint32_t reading_want
    uint32_t turn           # at a device, that the read has: its queue, or 0
    uint64_t cold_at        # file offset that the page cache was found to have nothing at
    uint8_t first           # index of the oldest window
    uint8_t count           # filled windows that wait or are being sent
    uint8_t from_reserve          # the last window came out of the reserve: copy, and do not wait with it in hand
    uint32_t[8] windows     # mapping slots
    uint32_t[8] lengths     # bytes in each
    uint32_t sent           # bytes of the oldest window that have left
    uint8_t live            # LiveSend: how it is being sent from the mapping
    uint64_t resident_to    # file offset up to which no disk was needed
    int64_t resident_ms     # when that was asked

cdef struct Conn:
    int32_t fd
    uint8_t state           # ConnState
    uint8_t flags           # ConnFlag
    uint8_t route           # Route, or ROUTE_UNKNOWN
    uint8_t sends           # sends under way
    uint32_t asked          # bytes that the last of them is to send
    uint16_t ops_open       # ops whose last completion has not come
    uint16_t refuse_status  # with REFUSED_HEAD and REFUSED_KEEPS; 0 unless it is being refused
    uint8_t answers         # responses begun, 2 for any more
    uint8_t broken          # its response cannot go on, and ends when what is being sent has left
    uint8_t stays           # it counts as admitted or rejected until its socket is closed
    RecvBuffer received     # and not yet consumed
    HeadFramer framer
    uint32_t head_length    # of the parked head at the start of `received`
    uint32_t row            # row of its previous head, or NO_ROW
    uint32_t row_edition
    uint32_t plan           # being replayed, or NO_SLOT
    uint32_t address        # row of what its address has, or that of its request; NO_SLOT where that is not counted
    uint32_t segment        # of the plan
    uint64_t done           # bytes of the segment that have left
    char* image             # what the first segment is sent from: it has the Date
    Stream* stream              # NULL unless a file streams
    uint32_t windows_held   # windows that it took from the pool and that have not come back
    uint16_t leases         # open leases of its sends
    uint16_t live_leases    # and those of them that are on mapped files, whose bytes others may write
    uint32_t unheard        # sends that ended without a copy, and the peer has not been heard from since
    int32_t queued_last     # unacknowledged bytes at the last stall check, -1 before the first
    int64_t deadline_ms     # monotonic
    int64_t head_began_ms   # first byte of the head under way, 0 before it
    int64_t began_us        # and of the request under way, until its response is over
    uint32_t awaits         # parked: mapping whose fill it waits for, or NO_SLOT
    uint32_t awaits_generation
    uint64_t[2] peer        # whose rates count, an address as `addresses` has it; 0 where nobody's do
    uint8_t believed        # its peer names the client of each request, and somebody wants to know
    uint8_t asked_for       # the head at the start of `received` has been counted, or refused
    uint8_t paced           # what it has paid for is not due yet
    uint32_t paid           # bytes that it may send without paying for them again
    int64_t paid_ns         # when it has paid, monotonic
    int64_t paid_to_ns      # `bytes_ns` and `back_ns` of its address just after that
    int64_t back_ns
    int64_t due_ms          # and from when on it may send them
    uint8_t names_scheme    # the peer may say by which scheme the client asked

cdef struct Client:         # whom the requests of a connection are for
    Peer peer               # who has connected, or whom the PROXY protocol names
    Peer own                # the same where it counts against limits, else nobody
    Peer named              # the peer, or whom it has named in the last head

cdef struct RouteTrial:     # what `auto` knows of a route
    uint32_t delivered      # zero-copy sends that the peers have for sure
    uint32_t copied         # and how many of them were copied
    uint32_t unheard        # that ended without a copy, and their peers have not been heard from since
    uint32_t spared         # sends without zero copy since it was given up, until the next trial
    uint8_t decided         # there is a verdict
    uint8_t met             # somebody has been sent something large over it

cdef struct WayTrial:       # of how memory files leave where zero copy was given up
    uint8_t copies          # they are copied now
    uint8_t verdict         # and were before this trial
    uint8_t part            # of the trial, from 1 on; 0 between trials
    uint8_t counts          # what leaves now does
    uint64_t bytes          # that have left since this part, its count or the rest between trials began
    uint64_t bytes_until    # when it ends
    uint32_t began_us       # CPU time then
    uint64_t[2] us          # CPU time of what counted: by reference, by copying
    uint64_t[2] counted     # and its bytes

cdef struct StreamFile:         # a file that streams
    Version version
    LiveMap map
    int32_t fd              # owned
    uint64_t device         # that it lies on
    uint8_t frozen          # nobody writes to it, as long as it has this descriptor
    uint32_t refs           # owner + plans
    uint64_t part_bytes     # that have left in answers with parts of it

cdef struct AddressCount:   # of an address that has connections
    uint64_t[2] address     # its family, and an IPv4 address or the first 64 bits of one of IPv6
    uint32_t connections    # admitted ones, and requests under way over those of proxies
    uint32_t next           # of the chain, or NO_SLOT

cdef struct AddressRate:    # of an address that has been heard from lately: when its buckets are full again, monotonic
    uint64_t[2] address
    int64_t requests_ns
    int64_t bytes_ns
    int64_t full_ns         # when that of bytes was last found full
    int64_t back_ns         # what has come back into it since ever

cdef enum:
    READ_QUEUES = 17
    READS_MAX = 4       # of a device that are under way at a time

cdef struct ReadQueue:
    uint64_t device
    uint32_t first          # snapshots that wait to be filled, through Mapping.next
    uint32_t last
    uint32_t waiting        # how many
    uint32_t filling        # those that are being filled
    uint32_t reading        # all reads under way: those, and of windows
    int64_t progress_at_ms  # bytes last came

cdef struct Limits:
    uint32_t head_size_max          # bytes
    uint32_t line_size_max          # bytes of the request line
    uint32_t head_ms_max
    uint32_t idle_ms_max
    uint32_t stall_ms_max
    uint32_t linger_ms_max
    uint32_t zc_size_min            # bytes of a body
    uint32_t window_size            # bytes
    uint32_t windows_per_connection
    uint32_t window_count           # windows in the pool
    uint32_t connections_max
    uint32_t refusals_max           # connections above a limit that are told 503
    uint32_t connections_per_address    # or NO_LIMIT
    uint32_t requests_per_second        # of an address, or NO_LIMIT
    uint32_t requests_burst             # and at once
    uint64_t bytes_per_second           # of an address, or NO_RATE
    uint32_t leases_per_connection
    uint32_t memory_files_max       # snapshots that have a descriptor each
    uint64_t part_bytes_max         # of plans that are remembered and answer with parts of files
    uint64_t held_bytes_max         # of what requests and responses under way hold
    uint32_t turn_bytes_max         # that large responses move in a turn while small ones come
    uint32_t way_bytes              # that count in a part of a trial of how memory files leave

cdef enum:
    LISTENERS_MAX = 16

cdef enum Proxy:
    PROXY_NONE = 0      # who connects is the client
    PROXY_NAMED = 1     # who connects is of the networks that are named, and says who the client is
    PROXY_ANYBODY = 2   # and where the file system says who may connect

cdef struct Listener:
    int32_t fd
    uint8_t proxy           # Proxy: whether a connection begins with a header
    uint8_t accepting       # an accept is under way
    uint8_t emptying        # its last accepts wait for nobody

# What is done on the spot, for those who need its result at once.
ctypedef int32_t (*Execute)(void* driver, const Op* op) noexcept nogil

cdef struct Machine:
    Limits limits
    Execute execute
    void* driver            # its first argument
    char[CACHE_KEY_SIZE_MAX] cache_key    # of the head that is being looked up
    Slab conns              # of Conn
    Slab sources            # of StreamFile
    Mappings mappings
    Ledger ledger
    PlanTable table
    Site site
    TimerWheel wheel
    Queues queues           # of connections
    AccessRecords access
    Stats* stats
    HttpDate http_date
    int64_t now_us          # monotonic, of this batch
    int64_t now_ms
    int64_t drain_hurries_at_ms     # while it drains: from then on each answer is the last of its connection
    Op* ops                 # of this batch, in order
    uint32_t op_count
    uint32_t op_capacity
    Listener[LISTENERS_MAX] listeners
    uint32_t listener_count
    uint32_t accepting      # listeners that have an accept under way
    Networks proxies        # that may say who the client is
    uint8_t proxied         # a listener wants to be told
    uint8_t tells_schemes   # answers depend on the scheme
    uint8_t secure          # that of connections is https
    uint8_t accept_multishot    # the driver can accept until further notice
    int64_t accept_at_ms    # when to accept again after an error, 0 when nothing is in the way
    ReadQueue[READ_QUEUES] read_queues  # first that of what the page cache may have, then by device
    uint32_t device_reads_max   # of each device that are under way at a time
    uint32_t device_news    # bit per queue: a read has ended there
    uint32_t filled_first   # snapshots whose fill has ended, as a list through Mapping.next
    uint32_t pool_free      # list of free windows
    uint32_t pool_free_count
    uint32_t pool_made      # windows made so far
    uint8_t pool_news       # a window has come back
    int64_t pool_used_at_ms     # a window was last taken
    int64_t pool_retry_at_ms    # there was no memory for a window: when to try again, 0 when there was
    uint32_t admitted       # connections within the limit; those that are closing are not among them
    uint32_t rejected    # and those above it
    Slab addresses          # of AddressCount
    uint32_t* address_chains    # by hash: the first of each chain, or NO_SLOT
    uint32_t address_chain_count    # a power of two, or 0 where addresses are not counted
    AddressRate* rates      # NULL where there is no rate
    Client* clients         # by slot of the connection; NULL where neither a log nor a limit wants to know
    Networks forwarders     # whose word about clients and schemes is believed
    uint8_t forwarded       # they say it in Forwarded, and not in X-Forwarded-For and X-Forwarded-Proto
    int64_t turn_at_us      # this turn began
    int64_t turn_bytes      # that large responses have moved in it
    int64_t small_at_us     # a small response last began
    int64_t send_at_us      # when large ones go on, if small ones keep coming
    int64_t handler_at_us   # and the handler
    uint8_t turn_full       # they have had their share
    uint8_t turn_begins     # the last of them that had its turn began a response
    uint8_t send_mode       # SendMode
    uint8_t zerocopy_able   # the driver has zero-copy sends
    uint8_t zerocopy_by_socket  # of memory that is not registered; notified by the socket, which stays open until the last
    uint8_t reports_usage   # notifications say whether the kernel copied
    uint8_t draining
    uint8_t crowded         # files in memory take more than they may: the handler is to make room
    uint8_t broken_off      # a response with more to come has ended, or who waits has left, or may have: tell the handler
    uint8_t route_news      # bit per Route: a verdict that has not been logged
    RouteTrial[2] trials    # by Route
    WayTrial[2] ways        # the same

cdef int machine_open(Machine* machine, const Limits* limits, uint32_t plans_max, uint32_t mappings_max, uint64_t key0,
                      uint64_t key1, Stats* stats, int64_t now_us) noexcept nogil
cdef void machine_close(Machine* machine) noexcept nogil
cdef int machine_open_access(Machine* machine, uint64_t capacity, const uint64_t* id_keys) noexcept nogil
cdef void machine_set_time(Machine* machine, int64_t now_us, int64_t unix_second) noexcept nogil
cdef Conn* conn_at(Machine* machine, uint32_t slot) noexcept nogil
cdef Op* machine_blank_op(Machine* machine) noexcept nogil
cdef Op* machine_op(Machine* machine, uint32_t slot, uint8_t op_kind, uint8_t token_kind) noexcept nogil
cdef int32_t machine_ask(Machine* machine, uint8_t kind, int32_t fd, char* address=*, uint8_t flags=*, uint64_t offset=*,
                         uint32_t length=*) noexcept nogil
cdef bint machine_registers(Machine* machine) noexcept nogil
cdef void machine_rest(Machine* machine, uint32_t slot, int rest) noexcept nogil
cdef void machine_let_go_mapping(Machine* machine, uint32_t slot) noexcept nogil
cdef void machine_let_go_file(Machine* machine, uint32_t slot) noexcept nogil
cdef void machine_close_file(Machine* machine, int32_t fd) noexcept nogil
cdef void machine_take_version(Machine* machine, Version* version, int32_t fd, bint grown) noexcept nogil
cdef bint machine_version_holds(Machine* machine, Version* version, int32_t fd, bint wait) noexcept nogil
cdef bint machine_source_holds(Machine* machine, uint32_t slot) noexcept nogil
cdef void machine_map_source(Machine* machine, uint32_t slot) noexcept nogil
cdef void machine_try_free_plan(Machine* machine, uint32_t slot) noexcept nogil
cdef bint machine_has_room(Machine* machine, uint32_t length) noexcept nogil
cdef bint machine_hold_plan(Machine* machine, uint32_t slot, uint32_t plan_slot) noexcept nogil
cdef void machine_let_go_plan(Machine* machine, uint32_t slot) noexcept nogil
cdef void machine_next_plan(Machine* machine, uint32_t slot, uint32_t plan_slot) noexcept nogil
cdef void machine_retire_entry(Machine* machine, uint32_t slot) noexcept nogil
cdef void machine_clear(Machine* machine, uint32_t slot) noexcept nogil


cdef inline bint machine_wants_peers(const Machine* machine) noexcept nogil:
    """Whether anybody wants to know from where connections come."""
    return (machine.access.bytes != NULL or machine.address_chain_count > 0 or machine.proxied
            or machine.rates != NULL or machine.tells_schemes)

# Counters of one worker: a fixed block of 64-bit cells in shared memory, written by that worker alone.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

cdef enum Reason:   # why a body that asked for zero copy was copied
    REASON_COPIED = 0       # auto: the kernel kept copying on this route
    REASON_MEMLOCK = 1      # the mapping could not be registered
    REASON_WINDOWS = 2      # the pool of registered windows is nearly empty
    REASON_UNSUPPORTED = 3  # the kernel or the socket refuses zero copy
    REASON_MEMORY = 4       # the kernel had no memory for it
    REASON_LEASES = 5       # the ledger or this connection's share of it is full
    REASON_COUNT = 8

cdef enum Route:
    ROUTE_LOOPBACK = 0
    ROUTE_NETWORK = 1
    ROUTE_COUNT = 2

cdef enum Verdict:  # zerocopy_active
    ZEROCOPY_UNDECIDED = 0
    ZEROCOPY_ON = 1
    ZEROCOPY_GIVEN_UP = 2

cdef enum:
    LEASE_BUCKETS = 24
    LATENCY_BUCKETS = 18    # the last is above every bound
    LATENCY_SIZES = 5       # classes of bodies by their size
    LATENCY_ROWS = 20       # for each of 2xx to 5xx one of each size

cdef enum SentWay:
    SENT_ZEROCOPY = 0
    SENT_PLAIN = 1
    SENT_SPLICED = 2
    WAYS = 3

cdef struct Stats:
    uint64_t requests[600]          # by status
    uint64_t sends_zerocopy
    uint64_t sends_plain
    uint64_t sends_splice
    uint64_t send_bytes_zerocopy
    uint64_t send_bytes_plain
    uint64_t send_bytes_splice
    uint64_t notifications_zero_copied
    uint64_t notifications_copied
    uint64_t notifications_unknown    # the kernel does not report usage
    uint64_t[2] delivered           # zero-copy sends that the peer has for sure: zero copied, copied
    uint64_t route_delivered[4]     # the same by Route
    uint64_t route_bytes[9]         # bytes sent, by Route and SentWay; the last three where the route is not known
    uint64_t fallbacks[8]           # by Reason
    uint64_t leases_open
    uint64_t leased_bytes           # of them
    uint64_t lease_buckets[25]      # not cumulative; the last is above every bound
    uint64_t lease_us_sum
    uint64_t latency_buckets[360]   # by row and bucket, not cumulative
    uint64_t latency_us_sum[20]     # by row
    uint64_t due_ms                 # monotonic, when the loop has its next turn at the latest
    uint64_t mappings_open
    uint64_t mapped_bytes
    uint64_t registered_bytes
    uint64_t zombies_open           # mappings whose entry is gone and which a send or a plan still reads
    uint64_t windows_open           # windows of the pool in use
    uint64_t pool_bytes             # of all windows, in use or not
    uint64_t connections_open
    uint64_t connections_total
    uint64_t plan_hits
    uint64_t plan_misses
    uint64_t plans_open
    uint64_t stale_completions
    uint64_t enters
    uint64_t completions
    uint64_t timeouts_head
    uint64_t timeouts_idle
    uint64_t timeouts_stall
    uint64_t aborts
    uint64_t accept_errors
    uint64_t zerocopy_active[2]     # by Route, a Verdict
    uint64_t entries_open
    uint64_t access_dropped         # access records for which there was no room, or that could not be written
    uint64_t fills                  # snapshots begun
    uint64_t fill_bytes             # and bytes read for them
    uint64_t evictions              # entries that made room
    uint64_t evicted_bytes          # and what of their files was in memory; Python writes this and the next, on the loop
    uint64_t admissions[4]          # large files that were asked for and not in memory, by result
    uint64_t plans_admitted         # cache keys that were remembered
    uint64_t plans_declined         # that were not, as they would have pushed out others
    uint64_t plans_evicted          # and that were pushed out
    uint64_t held_bytes             # by requests and responses under way: buffers, and images that nothing else leads to
    uint64_t refused_memory         # responses that there was no room for
    uint64_t refused_address        # connections of addresses that have all that they may have
    uint64_t refused_proxy_peer     # connections of others than the proxies that a listener is for
    uint64_t refused_proxy_header   # and of those that did not begin with a header of the PROXY protocol
    uint64_t refused_rate           # requests of addresses that ask too often
    uint64_t compressions[24]       # by encoding and result; these four are written by threads of the compressor
    uint64_t compression_us[4]      # by encoding
    uint64_t compressions_pending
    uint64_t compressed_bytes
    uint64_t digests[4]             # by result; these two are written by Python, on the loop
    uint64_t digest_bytes
    uint64_t tls_handshakes_completed   # these as well
    uint64_t tls_handshakes_failed
    uint64_t tls_handshakes_timeout
    uint64_t tls_connections_kernel     # by who encrypts
    uint64_t tls_connections_library

cdef void stats_lease(Stats* stats, int64_t held_us) noexcept nogil
cdef uint8_t stats_latency_row(uint16_t status, uint64_t body_length) noexcept nogil
cdef void stats_latency(Stats* stats, uint8_t row, int64_t took_us) noexcept nogil

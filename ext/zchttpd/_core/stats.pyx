"""Counters of one worker. The layout is the struct in stats.pxd; Python reads it through CELLS."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

# Upper bounds of the lease histogram, in microseconds: 1, 2.5, 5 steps from 10 us to 100 s, then minutes.
cdef int64_t[24] BOUNDS
BOUNDS[:] = [
    10, 25, 50, 100, 250, 500,
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000, 100_000_000,
    300_000_000, 1_000_000_000,
]

# And of those of latencies: to 100 s. Most requests for what is in memory end in the first.
cdef int64_t[17] LATENCY_BOUNDS
LATENCY_BOUNDS[:] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000, 30_000_000, 100_000_000,
]
# Classes of bodies by their size: below the first bound, and so on; those without one are a class too.
cdef uint64_t[4] SIZE_BOUNDS
SIZE_BOUNDS[:] = [1, 16 << 10, 1 << 20, 64 << 20]

LEASE_BOUNDS_US = tuple(BOUNDS[i] for i in range(LEASE_BUCKETS))
LATENCY_BOUNDS_US = tuple(LATENCY_BOUNDS[i] for i in range(LATENCY_BUCKETS - 1))
# Of each row of latencies.
LATENCY_LABELS = tuple(
    (status, size) for status in ("2xx", "3xx", "4xx", "5xx") for size in ("0", "16K", "1M", "64M", "more"))
FALLBACK_REASONS = ("copied", "memlock", "windows", "unsupported", "memory", "leases")
# Whether a large file was let in. Not where it was asked for too seldom, there is no room or it is on its way, or others are
# worth more.
ADMISSIONS = ("admitted", "seldom", "no_room", "outweighed")
ROUTES = ("loopback", "network")
STATS_BYTES = (sizeof(Stats) + 4095) // 4096 * 4096

cdef Stats _shape


cdef tuple _cell(void* first, size_t size):
    return (<char*>first - <char*>&_shape) // sizeof(uint64_t), size // sizeof(uint64_t)


CELLS = {
    "requests": _cell(&_shape.requests, sizeof(_shape.requests)),
    "sends_zerocopy": _cell(&_shape.sends_zerocopy, 8),
    "sends_plain": _cell(&_shape.sends_plain, 8),
    "sends_splice": _cell(&_shape.sends_splice, 8),
    "send_bytes_zerocopy": _cell(&_shape.send_bytes_zerocopy, 8),
    "send_bytes_plain": _cell(&_shape.send_bytes_plain, 8),
    "send_bytes_splice": _cell(&_shape.send_bytes_splice, 8),
    "notifications_zero_copied": _cell(&_shape.notifications_zero_copied, 8),
    "notifications_copied": _cell(&_shape.notifications_copied, 8),
    "notifications_unknown": _cell(&_shape.notifications_unknown, 8),
    "delivered_zero_copied": _cell(&_shape.delivered[0], 8),
    "delivered_copied": _cell(&_shape.delivered[1], 8),
    "route_delivered": _cell(&_shape.route_delivered, sizeof(_shape.route_delivered)),
    "route_bytes": _cell(&_shape.route_bytes, sizeof(_shape.route_bytes)),
    "fallbacks": _cell(&_shape.fallbacks, sizeof(_shape.fallbacks)),
    "leases_open": _cell(&_shape.leases_open, 8),
    "leased_bytes": _cell(&_shape.leased_bytes, 8),
    "lease_buckets": _cell(&_shape.lease_buckets, sizeof(_shape.lease_buckets)),
    "lease_us_sum": _cell(&_shape.lease_us_sum, 8),
    "latency_buckets": _cell(&_shape.latency_buckets, sizeof(_shape.latency_buckets)),
    "latency_us_sum": _cell(&_shape.latency_us_sum, sizeof(_shape.latency_us_sum)),
    "due_ms": _cell(&_shape.due_ms, 8),
    "mappings_open": _cell(&_shape.mappings_open, 8),
    "mapped_bytes": _cell(&_shape.mapped_bytes, 8),
    "registered_bytes": _cell(&_shape.registered_bytes, 8),
    "zombies_open": _cell(&_shape.zombies_open, 8),
    "windows_open": _cell(&_shape.windows_open, 8),
    "pool_bytes": _cell(&_shape.pool_bytes, 8),
    "connections_open": _cell(&_shape.connections_open, 8),
    "connections_total": _cell(&_shape.connections_total, 8),
    "plan_hits": _cell(&_shape.plan_hits, 8),
    "plan_misses": _cell(&_shape.plan_misses, 8),
    "plans_open": _cell(&_shape.plans_open, 8),
    "stale_completions": _cell(&_shape.stale_completions, 8),
    "enters": _cell(&_shape.enters, 8),
    "completions": _cell(&_shape.completions, 8),
    "timeouts_head": _cell(&_shape.timeouts_head, 8),
    "timeouts_idle": _cell(&_shape.timeouts_idle, 8),
    "timeouts_stall": _cell(&_shape.timeouts_stall, 8),
    "aborts": _cell(&_shape.aborts, 8),
    "accept_errors": _cell(&_shape.accept_errors, 8),
    "zerocopy_active": _cell(&_shape.zerocopy_active, sizeof(_shape.zerocopy_active)),
    "entries_open": _cell(&_shape.entries_open, 8),
    "access_dropped": _cell(&_shape.access_dropped, 8),
    "fills": _cell(&_shape.fills, 8),
    "fill_bytes": _cell(&_shape.fill_bytes, 8),
    "evictions": _cell(&_shape.evictions, 8),
    "evicted_bytes": _cell(&_shape.evicted_bytes, 8),
    "admissions": _cell(&_shape.admissions, sizeof(_shape.admissions)),
    "plans_admitted": _cell(&_shape.plans_admitted, 8),
    "plans_declined": _cell(&_shape.plans_declined, 8),
    "plans_evicted": _cell(&_shape.plans_evicted, 8),
    "held_bytes": _cell(&_shape.held_bytes, 8),
    "refused_memory": _cell(&_shape.refused_memory, 8),
    "refused_address": _cell(&_shape.refused_address, 8),
    "refused_proxy_peer": _cell(&_shape.refused_proxy_peer, 8),
    "refused_proxy_header": _cell(&_shape.refused_proxy_header, 8),
    "refused_rate": _cell(&_shape.refused_rate, 8),
    "compressions": _cell(&_shape.compressions, sizeof(_shape.compressions)),
    "compression_us": _cell(&_shape.compression_us, sizeof(_shape.compression_us)),
    "compressions_pending": _cell(&_shape.compressions_pending, 8),
    "compressed_bytes": _cell(&_shape.compressed_bytes, 8),
    "digests": _cell(&_shape.digests, sizeof(_shape.digests)),
    "digest_bytes": _cell(&_shape.digest_bytes, 8),
    "tls_handshakes_completed": _cell(&_shape.tls_handshakes_completed, 8),
    "tls_handshakes_failed": _cell(&_shape.tls_handshakes_failed, 8),
    "tls_handshakes_timeout": _cell(&_shape.tls_handshakes_timeout, 8),
    "tls_connections_kernel": _cell(&_shape.tls_connections_kernel, 8),
    "tls_connections_library": _cell(&_shape.tls_connections_library, 8),
}


cdef void stats_lease(Stats* stats, int64_t held_us) noexcept nogil:
    """Count one ended lease into the histogram."""
    cdef int bucket = 0
    while bucket < LEASE_BUCKETS and held_us > BOUNDS[bucket]:
        bucket += 1
    stats.lease_buckets[bucket] += 1
    stats.lease_us_sum += <uint64_t>held_us


cdef uint8_t stats_latency_row(uint16_t status, uint64_t body_length) noexcept nogil:
    """Where responses of a status with a body of so many bytes are counted."""
    cdef uint8_t size = 0
    while size < LATENCY_SIZES - 1 and body_length >= SIZE_BOUNDS[size]:
        size += 1
    return (min(max(status // 100, 2), 5) - 2) * LATENCY_SIZES + size


cdef void stats_latency(Stats* stats, uint8_t row, int64_t took_us) noexcept nogil:
    """Count one response that has gone whole."""
    cdef int bucket = 0
    while bucket < LATENCY_BUCKETS - 1 and took_us > LATENCY_BOUNDS[bucket]:
        bucket += 1
    stats.latency_buckets[row * LATENCY_BUCKETS + bucket] += 1
    stats.latency_us_sum[row] += <uint64_t>took_us

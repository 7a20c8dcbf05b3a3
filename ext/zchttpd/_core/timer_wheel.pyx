"""A timing wheel over slots: file, drop, and take what is due."""

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

from zchttpd._core.memory cimport memory_give, memory_take_zeroed
from zchttpd._core.token cimport NO_SLOT


cdef int timer_wheel_open(TimerWheel* wheel, uint32_t capacity, int64_t now_ms) noexcept nogil:
    """Returns 0 or -ENOMEM, then nothing is held. `now_ms` is any monotonic clock, from then on the same."""
    memset(wheel, 0, sizeof(TimerWheel))
    memset(wheel.heads, 0xFF, sizeof(wheel.heads))
    wheel.next = <uint32_t*>memory_take_zeroed(capacity, sizeof(uint32_t))
    wheel.previous = <uint32_t*>memory_take_zeroed(capacity, sizeof(uint32_t))
    wheel.ticks = <int64_t*>memory_take_zeroed(capacity, sizeof(int64_t))
    wheel.capacity = capacity
    wheel.tick = now_ms // WHEEL_TICK_MS
    if wheel.next == NULL or wheel.previous == NULL or wheel.ticks == NULL:
        timer_wheel_close(wheel)
        return -ENOMEM
    return 0


cdef void timer_wheel_close(TimerWheel* wheel) noexcept nogil:
    memory_give(wheel.next)
    memory_give(wheel.previous)
    memory_give(wheel.ticks)
    memset(wheel, 0, sizeof(TimerWheel))


cdef void timer_wheel_set(TimerWheel* wheel, uint32_t slot, int64_t deadline_ms) noexcept nogil:
    """See that `slot` comes up at `deadline_ms` or before; a slot filed for an earlier time stays where it is."""
    cdef int64_t tick = deadline_ms // WHEEL_TICK_MS + 1
    if tick <= wheel.tick:
        tick = wheel.tick + 1
    if wheel.ticks[slot] != 0:
        if wheel.ticks[slot] <= tick:
            return
        timer_wheel_cancel(wheel, slot)
    cdef uint32_t bucket = <uint32_t>(tick % WHEEL_BUCKETS)
    wheel.ticks[slot] = tick
    wheel.previous[slot] = NO_SLOT
    wheel.next[slot] = wheel.heads[bucket]
    if wheel.heads[bucket] != NO_SLOT:
        wheel.previous[wheel.heads[bucket]] = slot
    wheel.heads[bucket] = slot
    wheel.filed += 1


cdef void timer_wheel_cancel(TimerWheel* wheel, uint32_t slot) noexcept nogil:
    """Take `slot` out, if it is filed."""
    if wheel.ticks[slot] == 0:
        return
    cdef uint32_t bucket = <uint32_t>(wheel.ticks[slot] % WHEEL_BUCKETS)
    if wheel.previous[slot] == NO_SLOT:
        wheel.heads[bucket] = wheel.next[slot]
    else:
        wheel.next[wheel.previous[slot]] = wheel.next[slot]
    if wheel.next[slot] != NO_SLOT:
        wheel.previous[wheel.next[slot]] = wheel.previous[slot]
    wheel.ticks[slot] = 0
    wheel.filed -= 1


cdef int64_t timer_wheel_pause_ms(const TimerWheel* wheel, int64_t now_ms, uint32_t ticks_max) noexcept nogil:
    """For how long nothing comes up for sure; `ticks_max` ticks at most. What comes up in a later round counts as well."""
    cdef int64_t tick = wheel.tick + 1
    while tick < wheel.tick + ticks_max and wheel.heads[tick % WHEEL_BUCKETS] == NO_SLOT:
        tick += 1
    return max(<int64_t>0, tick * WHEEL_TICK_MS - now_ms)


cdef uint32_t timer_wheel_due(TimerWheel* wheel, int64_t now_ms) noexcept nogil:
    """Take out and return one slot whose tick has come, or NO_SLOT. The caller files it again if it is not late yet."""
    cdef int64_t target = now_ms // WHEEL_TICK_MS
    cdef uint32_t slot
    if wheel.filed == 0:
        wheel.tick = target
        return NO_SLOT
    # After a long sleep one round over all buckets is enough.
    if target - wheel.tick > WHEEL_BUCKETS:
        wheel.tick = target - WHEEL_BUCKETS
    while wheel.tick < target:
        slot = wheel.heads[(wheel.tick + 1) % WHEEL_BUCKETS]
        while slot != NO_SLOT:
            if wheel.ticks[slot] <= target:
                timer_wheel_cancel(wheel, slot)
                return slot
            slot = wheel.next[slot]
        wheel.tick += 1
    return NO_SLOT

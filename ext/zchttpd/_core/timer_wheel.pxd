# A timing wheel over connection slots. A deadline that moves later costs nothing: the slot is looked at when its old
# bucket comes round and filed again.

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    WHEEL_BUCKETS = 512
    WHEEL_TICK_MS = 100

cdef struct TimerWheel:
    uint32_t[512] heads     # first slot of each bucket, or NO_SLOT
    uint32_t* next          # by slot
    uint32_t* previous      # by slot; NO_SLOT for the first of a bucket
    int64_t* ticks          # by slot: the tick it is filed under, 0 when it is not filed
    uint32_t capacity       # slots
    uint32_t filed          # slots in the wheel
    int64_t tick            # last tick looked at

cdef int timer_wheel_open(TimerWheel* wheel, uint32_t capacity, int64_t now_ms) noexcept nogil
cdef void timer_wheel_close(TimerWheel* wheel) noexcept nogil
cdef void timer_wheel_set(TimerWheel* wheel, uint32_t slot, int64_t deadline_ms) noexcept nogil
cdef void timer_wheel_cancel(TimerWheel* wheel, uint32_t slot) noexcept nogil
cdef int64_t timer_wheel_pause_ms(const TimerWheel* wheel, int64_t now_ms, uint32_t ticks_max) noexcept nogil
cdef uint32_t timer_wheel_due(TimerWheel* wheel, int64_t now_ms) noexcept nogil

# One worker: the machine, its Python face, and the loop. A driver derives from it and says how ops are executed.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from zchttpd._core.machine cimport Machine
from zchttpd._core.op cimport Completion, Op
from zchttpd._core.slab cimport Slab
from zchttpd._core.token cimport NO_SLOT

cdef enum:
    BATCH = 256             # completions that are reaped at a time
    MAPPINGS_MAX = 16384    # the kernel's bound on the buffer table

cdef class Worker:
    cdef Machine machine
    cdef Completion[256] completions
    cdef uint32_t batch             # completions that are reaped at a time, BATCH at most
    cdef int wake
    cdef int access_event           # eventfd that tells the log of records; -1 without a log
    cdef object handler
    cdef object on_route
    cdef object stats               # keeps the shared block in memory
    cdef uint8_t opened             # the machine has been made
    cdef uint8_t started
    cdef uint8_t woken
    cdef uint8_t called             # the handler wants to be called again
    cdef uint32_t handled           # things that the handler has done in this turn
    cdef uint64_t in_hand           # the ticket that it has been given last, 0 before the first and behind the last
    cdef readonly bint broken_off   # as in Machine, when the handler was called: Python reads it
    cdef uint8_t sources_due        # the handler is to look which sources nobody reads
    cdef int64_t sources_at_ms      # when it next is
    cdef int64_t drain_until_ms
    cdef int64_t drain_ms_max

    # What a driver is. None of them takes the GIL, but those of the tests.
    cdef void _wait(self, int64_t timeout_us) noexcept nogil
    cdef bint _pending(self) noexcept nogil
    cdef uint32_t _reap(self, Completion* completions, uint32_t count) noexcept nogil
    cdef int32_t _execute(self, const Op* op) noexcept nogil
    cdef void _give_back(self, uint16_t buffer_id) noexcept nogil
    cdef void _publish(self) noexcept nogil
    cdef void _read_clock(self, int64_t* now_us, int64_t* unix_second) noexcept nogil
    cdef void _set_features(self, bint zerocopy, bint reports_usage, bint accept_multishot) noexcept nogil

    # The loop.
    cdef int64_t _pause_us(self) noexcept nogil
    cdef void _set_time(self) noexcept nogil
    cdef void _turn(self, int64_t timeout_us) noexcept nogil
    cdef void _dispatch(self, Completion* completion) noexcept nogil
    cdef void _watch(self) noexcept nogil
    cdef void _signal_log(self) noexcept nogil
    cdef void _flush(self) noexcept nogil
    cdef int64_t _spent_us(self) noexcept nogil
    cdef bint _may_go_on(self) noexcept nogil
    cdef bint _wants_handler(self) noexcept nogil
    cdef bint _may_handle(self) noexcept nogil
    cdef bint _should_run(self) noexcept nogil

    # With the GIL.
    cdef void _run_handler(self)
    cdef void _handle_signals(self)
    cdef void _report_routes(self)
    cdef tuple _item(self, uint8_t queue)
    cdef uint32_t _slot(self, Slab* slab, number) except? NO_SLOT

# Turns at the devices of files: who reads what is not in the page cache.

from libc.stdint cimport uint32_t, uint64_t

from zchttpd._core.machine cimport Machine

cdef enum:
    AT_HAND = 0         # the queue of what the page cache may have

cdef uint32_t devices_queue(Machine* machine, uint64_t device) noexcept nogil
cdef bint devices_free(const Machine* machine, uint32_t number) noexcept nogil
cdef void devices_begin(Machine* machine, uint32_t number) noexcept nogil
cdef void devices_got_on(Machine* machine, uint32_t number) noexcept nogil
cdef void devices_end(Machine* machine, uint32_t number) noexcept nogil
cdef void devices_wake(Machine* machine) noexcept nogil

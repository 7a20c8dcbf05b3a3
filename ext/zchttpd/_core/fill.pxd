# Filling snapshots: a few of each device at a time, in pieces, and only believed when the file is still the version that was
# announced.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from zchttpd._core.machine cimport Machine

cdef void fill_begin(Machine* machine, uint32_t slot, uint64_t device) noexcept nogil
cdef void fill_start(Machine* machine, uint32_t number) noexcept nogil
cdef void fill_step(Machine* machine, uint32_t slot, uint32_t generation, int32_t res) noexcept nogil
cdef int64_t fill_progress_ms(Machine* machine, uint32_t slot) noexcept nogil
cdef uint32_t fill_take_ended(Machine* machine, int32_t* error) noexcept nogil

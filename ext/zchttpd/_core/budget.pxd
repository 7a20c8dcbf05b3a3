# What is remembered beside what the handler has made room for: answers with parts of files, and the machine's own.

from libc.stdint cimport uint32_t, uint64_t

from zchttpd._core.machine cimport Machine

cdef uint64_t budget_image_bytes(const Machine* machine) noexcept nogil
cdef uint64_t budget_snapshot_bytes(const Machine* machine) noexcept nogil
cdef bint budget_part_fits(Machine* machine, uint32_t plan_slot) noexcept nogil
cdef bint budget_own_fits(Machine* machine, uint64_t bytes) noexcept nogil
cdef void budget_forget_own(Machine* machine) noexcept nogil

# Bytes of a file to a socket, in the way that costs least there, and the ends of leases.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.machine cimport Conn, Machine

cdef enum:
    SPLICE_SIZE_MAX = 1 << 20   # bytes of one op: what a pipe holds

cdef enum:
    COPY_BY_MODE = 0xFF     # no reason to count: the mode, or the size, says so
    COPY_NO = 0xFE          # zero copy, if nothing speaks against it

cdef void transmit_window(Machine* machine, uint32_t slot, uint32_t mapping, uint64_t offset, uint64_t length,
                          uint8_t copy_reason) noexcept nogil
cdef bint transmit_copies(Machine* machine, Conn* conn) noexcept nogil
cdef bint transmit_file(Machine* machine, uint32_t slot, uint32_t source, uint64_t offset, uint32_t length, uint64_t left,
                        uint8_t copy_reason) noexcept nogil
cdef void transmit_drop_pages(Machine* machine, char* address, uint32_t length) noexcept nogil
cdef void transmit_end_lease(Machine* machine, uint32_t lease) noexcept nogil
cdef void transmit_notified(Machine* machine, uint32_t lease, int32_t usage) noexcept nogil

# The mapping of an open file that sends read straight from. Its bytes are others' to write, and none of ours read them.

from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef struct LiveMap:
    char* base          # first byte of the file, NULL where it is not mapped
    uint64_t length     # bytes

cdef int live_map_open(LiveMap* map, int fd) noexcept nogil
cdef void live_map_close(char* base, uint64_t length) noexcept nogil
cdef uint32_t live_map_resident(uint32_t length, int fd, uint64_t offset) noexcept nogil
cdef void live_map_drop(char* address, uint32_t length) noexcept nogil

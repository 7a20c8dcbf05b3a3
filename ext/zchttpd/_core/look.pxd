# A look at a plain path beneath the root: which version of a file is there, and its bytes, without waiting for a disk.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.file_version cimport FileVersion

cdef struct Look:
    const char* path        # plain (plain_path.pxd), not terminated
    uint32_t length         # bytes of it
    uint8_t siblings        # whether names that compressed siblings would have must be free
    char* to                # where the bytes go; NULL: they are not wanted
    uint32_t room           # bytes there
    FileVersion version     # what was found

cdef struct RootPath:       # the directory that is served
    char* path              # as it was given, terminated
    uint64_t dev            # where it led
    uint64_t ino

cdef int32_t look_at(Look* look, int root) noexcept nogil
cdef int32_t look_at_root(const RootPath* root) noexcept nogil

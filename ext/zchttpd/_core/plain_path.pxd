# Which cache keys ask for a plain path: no query, nothing encoded, no empty name, none that begins with a dot.

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    PATH_SIZE_MAX = 250     # bytes, as handler/templates.py has it

cdef struct PlainPath:      # of a cache key
    uint32_t begin          # of the path in it, behind its first slash
    uint32_t length         # bytes
    uint32_t extension      # bytes behind the last dot of the last name, 0 for none
    uint8_t get             # GET; else HEAD

cdef bint plain_name(const char* path, uint32_t length, uint32_t* extension) noexcept nogil
cdef bint plain_path(const char* cache_key, uint32_t length, PlainPath* found) noexcept nogil

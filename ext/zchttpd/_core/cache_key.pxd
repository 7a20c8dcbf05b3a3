# What of a request head its answer can depend on: the key under which plans are remembered.

from libc.stdint cimport uint32_t

cdef enum:
    CACHE_KEY_SIZE_MAX = 2048    # bytes; a longer one is not remembered

cdef uint32_t cache_key(const char* head, uint32_t length, char* out) noexcept nogil
cdef bint cache_key_stands_alone(const char* key, uint32_t length) noexcept nogil

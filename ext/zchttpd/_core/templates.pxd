# Response heads with holes, by the shape of the request head and by what the options look at in a path.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from zchttpd._core.file_version cimport FileVersion
from zchttpd._core.plans cimport PlanTable

cdef enum:
    HEAD_ROOM = 8192        # bytes of a head whose holes are filled in

cdef struct Kind:           # of requests that a template answers
    const char* shape       # the cache key behind the path
    uint32_t shape_length
    const char* extension   # of the last name of the path
    uint32_t extension_length
    uint64_t rules          # bit per pattern of the options that the path matches

cdef struct Template:
    char* memory            # shape, extension, what lies before and behind the holes; NULL: the row is free
    uint64_t hash           # of its kind
    uint64_t rules
    uint32_t shape_length
    uint32_t extension_length
    uint32_t before_length
    uint32_t behind_length
    int32_t date_at         # as in Plan
    uint8_t keep_alive
    uint8_t linger
    uint8_t used            # since the clock last came by

cdef struct Templates:
    Template* rows          # sets of TEMPLATE_WAYS
    uint8_t hand            # clock hand within a set

cdef int templates_open(Templates* templates) noexcept nogil
cdef void templates_close(Templates* templates) noexcept nogil
cdef Template* templates_find(Templates* templates, PlanTable* table, const Kind* kind) noexcept nogil
cdef Template* templates_add(Templates* templates, PlanTable* table, const Kind* kind, const char* before,
                             uint32_t before_length, const char* behind, uint32_t behind_length) noexcept nogil
cdef uint32_t template_fill(const Template* template, const FileVersion* version, char* end) noexcept nogil

# The segments of a plan, as the handler lists them.

from libc.stdint cimport uint64_t

from zchttpd._core.plans cimport Segment

cdef Segment* segments_of(list listed, uint64_t image, uint64_t mapped, uint64_t streamed) except NULL

# Ops that every driver does on the spot, in the order in which they come.

from libc.stdint cimport int32_t

from zchttpd._core.op cimport Op

cdef bint plain_call(const Op* op, int32_t* result) noexcept nogil

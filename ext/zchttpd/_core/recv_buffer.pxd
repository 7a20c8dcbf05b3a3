# Bytes received and not yet consumed, and the framing of heads.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum Frame:
    FRAME_MORE = 0       # no end of a head in sight yet
    FRAME_HEAD = 1       # a whole head
    FRAME_BROKEN = 2     # a line that ends in a bare LF, or a first line that cannot become a request line
    FRAME_LINE_LONG = 3  # the request line does not end within its bound
    FRAME_HEAD_LONG = 4  # the head does not end within its bound

cdef enum Place:         # in the request line, or in the empty line that may come before it
    PLACE_START = 0
    PLACE_METHOD = 1
    PLACE_TARGET = 2     # behind its first byte
    PLACE_EMPTY = 3      # behind the CR of an empty line
    PLACE_SPACE = 4      # before the first byte of the target
    PLACE_VERSION = 5    # before the first byte of the version; one more behind each byte

cdef struct HeadFramer:
    uint32_t scanned    # bytes already looked at, from the start of the head
    uint32_t line       # where the line under way begins
    uint8_t lines       # 1 once the request line has ended
    uint8_t place       # Place that the request line has reached

cdef struct RecvBuffer:
    char* bytes         # NULL while nothing waits
    uint32_t start      # first unconsumed byte
    uint32_t end        # one past the last
    uint32_t capacity
    uint64_t* held      # where its memory is counted, NULL while it has none

cdef int frame(HeadFramer* framer, const char* bytes, uint32_t length, uint32_t line_max, uint32_t head_max,
               uint32_t* head_length) noexcept nogil
cdef int recv_buffer_append(RecvBuffer* buffer, const char* bytes, uint32_t length, uint64_t* held) noexcept nogil
cdef void recv_buffer_consume(RecvBuffer* buffer, uint32_t length) noexcept nogil
cdef void recv_buffer_free(RecvBuffer* buffer) noexcept nogil

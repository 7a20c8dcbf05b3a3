# Connections that wait in queues: a slot is in one queue at most, is pushed at the end, and may leave from anywhere.

from libc.stdint cimport uint8_t, uint32_t

cdef enum:              # a queue
    QUEUE_NONE = 0
    QUEUE_WINDOW = 1     # waits for a window of the pool
    QUEUE_NEW = 2        # waits for its first request
    QUEUE_ONCE = 3       # waits for a request, and has had one answer
    QUEUE_IN_USE = 4     # waits for a request, and has had several
    QUEUE_REJECTED = 5  # rejected, and told so
    QUEUE_HALF = 6      # waits for the rest of a head
    QUEUE_LOOK = 7      # parked: a stale entry is to be looked at, or it is to be refused
    QUEUE_HEAD = 8      # parked: its head is to be answered; or what comes next of its response is to be told
    QUEUE_BEGIN = 9     # has a response to begin with when its turn to send comes
    QUEUE_SEND = 10     # and one to go on with
    QUEUE_DEVICE = 11    # and those behind it, by device: waits for its turn to read there
    QUEUE_COUNT = 28

cdef struct Queues:
    uint32_t* next      # by slot
    uint32_t* previous
    uint8_t* queue       # that the slot is in
    uint32_t[28] first   # by queue; NO_SLOT when nobody is in it
    uint32_t[28] last

cdef int queues_open(Queues* queues, uint32_t capacity) noexcept nogil
cdef void queues_close(Queues* queues) noexcept nogil
cdef void queues_push(Queues* queues, uint32_t slot, uint8_t queue) noexcept nogil
cdef void queues_remove(Queues* queues, uint32_t slot) noexcept nogil

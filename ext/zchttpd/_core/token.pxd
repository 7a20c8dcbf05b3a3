# The token is the only thing that the kernel gives back to us: user_data = kind | slot | generation.
# 0 is "nobody". A completion may outlive what it was for, so the generation is compared before the slot is touched.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum TokenKind:
    TOKEN_NOBODY = 0
    TOKEN_ACCEPT = 1    # slot: listener
    TOKEN_RECV = 2      # slot: connection
    TOKEN_SEND = 3      # slot: connection; a copying send
    TOKEN_SEND_ZC = 4   # slot: lease; its result, and later its notification
    TOKEN_READ = 5      # slot: connection; a window of a streamed file
    TOKEN_FILL = 6      # slot: mapping; the next piece of a snapshot
    TOKEN_POLL = 7      # slot: connection; the socket takes bytes again
    TOKEN_CANCEL = 8    # slot: connection
    TOKEN_CLOSE = 9     # slot: connection
    TOKEN_TAG = 10      # slot: mapping; the kernel has let go of a registered buffer
    TOKEN_WAKE = 11     # slot: 0; the watched descriptor is readable
    TOKEN_SPLICE = 12   # slot: connection; a send from a sealed file
    TOKEN_ROOM = 13     # slot: descriptor; the ring's own, room in a socket for a splice that waits

cdef enum:
    SLOT_BITS = 24
    SLOT_MAX = (1 << SLOT_BITS) - 1
    NO_SLOT = 0xFFFFFFFF


cdef inline uint64_t token_pack(uint8_t kind, uint32_t slot, uint32_t generation) noexcept nogil:
    return (<uint64_t>kind << 56) | (<uint64_t>(slot & SLOT_MAX) << 32) | generation


cdef inline uint8_t token_kind(uint64_t token) noexcept nogil:
    return <uint8_t>(token >> 56)


cdef inline uint32_t token_slot(uint64_t token) noexcept nogil:
    return <uint32_t>(token >> 32) & SLOT_MAX


cdef inline uint32_t token_generation(uint64_t token) noexcept nogil:
    return <uint32_t>token

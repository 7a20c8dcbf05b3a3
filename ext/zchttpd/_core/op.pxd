# The seam. `conn` turns completions into ops; `ring` turns ops into sqes and cqes into completions; the simulator
# in tests/sim stands where `ring` does.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum OpKind:
    OP_RECV = 1         # (multishot) receive into provided buffers
    OP_SEND = 2         # copying send of address, length
    OP_SEND_ZC = 3      # zero-copy send from the registered buffer `buffer`
    OP_READ = 4         # read a window of a streamed file; the file must still be the version `source`
    OP_FILL = 5         # read the next piece of a snapshot into its mapping
    OP_POLL = 6         # wait until the socket takes bytes
    OP_SHUTDOWN = 7     # end our direction, keep reading. No completion
    OP_CANCEL_RECV = 8  # end the multishot receive `token`
    OP_CANCEL_ALL = 9   # cancel whatever is under way on the socket
    OP_RESET = 10       # SO_LINGER 0: the close that follows sends RST. No completion
    OP_CLOSE = 11
    OP_CLEAR = 12       # clear a buffer-table slot; the tag comes back as a completion
    OP_QUEUED = 13      # ask how many sent bytes are unacknowledged; answered on the spot
    OP_REGISTER = 14    # put the mapping `slot` into the buffer table; done on the spot

cdef enum OpFlag:
    OP_MORE = 1         # MSG_MORE: the body follows at once
    OP_LINK = 2         # the next op starts when this one has completed whole
    OP_NOWAIT = 4       # MSG_DONTWAIT: -EAGAIN instead of waiting with a window in hand

cdef struct Op:
    uint8_t kind        # OpKind
    uint8_t flags       # OpFlag
    int32_t fd          # socket or file
    int32_t buffer      # index in the registered-buffer table, or -1
    uint32_t slot       # of the mapping, for OP_FILL, OP_READ and OP_CLEAR
    uint64_t token      # comes back in the completion
    char* address       # first byte
    uint64_t offset     # in the file, for reads
    uint32_t length     # bytes

cdef struct Completion:
    uint64_t token
    int32_t res         # result, or -errno; for a notification its usage word
    uint8_t more        # another completion of the same token will follow
    uint8_t notification
    uint16_t buffer_id  # provided buffer that holds `bytes`
    uint8_t has_buffer
    uint8_t route       # accept: Route of the new connection
    char* bytes         # received bytes, valid until the batch ends

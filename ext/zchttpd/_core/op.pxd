# The driver interface: whatever a worker does to the outside is an op, whatever comes back is a completion. A driver
# (`uring_driver`; the simulator in tests/sim) says how ops are executed, and nothing else.

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum OpKind:
    OP_RECV = 1         # (multishot) receive into provided buffers
    OP_SEND = 2         # copying send of address, length; -EFAULT where a mapped file has no such bytes any more
    OP_SEND_ZC = 3      # zero-copy send from the registered buffer `buffer`, or from any memory if that is -1
    OP_READ = 4         # read a window of a streamed file; the file must still be the version `source`
    OP_FILL = 5         # read the next piece of a snapshot into its mapping
    OP_POLL = 6         # wait until the socket takes bytes, or is broken. No send waits: -EAGAIN, and this
    OP_SHUTDOWN = 7     # end our direction, keep reading. No completion
    OP_CANCEL = 8       # end the op of `fd` whose token is `offset`
    OP_CANCEL_ALL = 9   # cancel whatever is under way on the socket
    OP_RESET = 10       # SO_LINGER 0: the close that follows sends RST. No completion
    OP_CLOSE = 11
    OP_CLEAR = 12       # clear a buffer-table slot; the tag comes back as a completion, unless the result is -errno
    OP_QUEUED = 13      # ask how many sent bytes are unacknowledged; the result says
    OP_REGISTER = 14    # put the mapping `slot` into the buffer table; the result is 0 or -errno
    OP_ACCEPT = 15      # (multishot) accept at the listener
    OP_WATCH = 16       # one completion when `fd` becomes readable
    OP_REJECT = 17      # close a socket that became no connection, or the listener. No completion
    OP_SIGNAL = 18      # wake whoever waits for the eventfd `fd`. No completion
    OP_SPLICE = 19      # send by reference from `file`, which nobody writes to; at `address` are the same bytes
    OP_TAKE_VERSION = 20    # sample the file `fd` for the Version at `address`; the result is 0, or -errno: another by now
    OP_CHECK_VERSION = 21   # look whether it still has its bytes; the result is 0, or -errno when it has not
    OP_CLOSE_FILE = 22      # close the file `fd`. No completion
    OP_UNREAD = 23      # ask how many bytes of the peer nobody has received; the result says
    OP_ROUTE = 24       # ask which way the connection goes; the result is its Route
    OP_COLLAPSE = 25    # make huge pages of the mapping's memory file (madvise(2), MADV_COLLAPSE); it may fail
    OP_MAP_FILE = 26    # map the file `fd` for the LiveMap at `address`; the result is 0 or -errno
    OP_UNMAP_FILE = 27  # take that mapping back: `offset` bytes at `address`. No completion
    OP_RESIDENT = 28    # ask how many of these mapped bytes of the file, from the first on, need no disk; the result says
    OP_LOOK = 29        # look at a path beneath the directory `fd`, for the Look at `address`; the result is 0 or -errno
    OP_CHECK_ROOT = 30  # look where the RootPath at `address` leads; the result is 0, or -errno: elsewhere by now
    OP_DROP_PAGES = 31  # take these mapped bytes of a file, which have been sent, out of our page tables. No completion
    OP_CPU_TIME = 32    # ask how much CPU time this thread has had; the result says, in microseconds modulo 2**32

cdef enum OpFlag:
    OP_MORE = 1         # MSG_MORE: the body follows at once
    OP_LINK = 2         # the next op starts when this one has completed whole
    OP_MULTISHOT = 4    # accept until further notice
    OP_GROWN = 8        # the file may be longer by now than was announced
    OP_NOWAIT = 32      # read what the page cache has; -EAGAIN where it has nothing, -EOPNOTSUPP where nobody can tell
    OP_ASIDE = 64       # its file system may hang, also where it should not wait: nothing is tried on the spot
    OP_BROKEN = 128     # the last response has not gone whole: TLS is not to say that nothing follows
    OP_WAIT = 16        # bytes of the file may be read again: no disk holds that up, as they have just been read

cdef struct Op:
    uint8_t kind        # OpKind
    uint8_t flags       # OpFlag
    int32_t fd          # socket or file
    int32_t buffer      # index in the registered-buffer table, or -1
    uint32_t slot       # of the mapping, for OP_SEND_ZC, OP_FILL, OP_READ, OP_REGISTER and OP_CLEAR
    uint64_t token      # comes back in the completion
    char* address       # first byte
    uint64_t offset     # in the file, for reads, splices and OP_RESIDENT
    uint32_t length     # bytes
    int32_t file        # that OP_SPLICE sends from

cdef struct Peer:       # a client's address
    uint8_t family      # 4, 6, or 0 when it is not known
    uint16_t port
    uint8_t[16] address  # of IPv4, the first four

cdef struct Completion:
    uint64_t token
    int32_t res         # result, or -errno; for a notification negative if the kernel has copied
    uint8_t more        # another completion of the same token will follow
    uint8_t notification
    uint16_t buffer_id  # provided buffer that holds `bytes`
    uint8_t has_buffer
    uint8_t copied      # what should have been spliced was copied
    char* bytes         # received bytes, valid until the buffer is given back
    const Peer* peer    # accept: the client, or NULL where nobody asks for it; valid until the batch ends

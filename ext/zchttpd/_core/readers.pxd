# Reads of files: at once from the page cache, else by threads, so that a disk holds up nobody but those who want its bytes.

from libc.stdint cimport int32_t, uint8_t, uint32_t

from zchttpd._core.completions cimport Completions
from zchttpd._core.op cimport Op

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass

cdef struct Read:
    Read* next
    Op op               # its memory and its file stay until the read is done
    int32_t res         # bytes read, or -errno

cdef struct Readers:
    pthread_mutex_t lock
    pthread_cond_t some     # a read is there to be taken, or the end has come
    Read* first             # reads that no thread has taken yet, oldest first
    Read* last
    Read* done              # reads that are done and have not been collected
    int event               # eventfd: readable while `done` may have some
    uint32_t queued         # reads that no thread has taken yet
    uint32_t reading        # reads that a thread is at
    uint32_t threads
    uint32_t idle           # threads that wait for a read
    uint8_t closing

cdef Readers* readers_open() noexcept nogil
cdef uint32_t readers_close(Readers* readers) noexcept nogil
cdef bint readers_read(Readers* readers, const Op* op, int32_t* res) noexcept nogil
cdef void readers_collect(Readers* readers, Completions* into) noexcept nogil

"""Reads that wait for a disk, each in a thread of its own up to a bound (pthreads(7), preadv2(2)).

The threads hold no lock of Python's and are joined by nobody: one that never comes back from its disk holds up neither
the other reads nor the end of the process. Threads are started when they are needed and then kept.
"""

from libc.errno cimport EAGAIN, ENOMEM, EOPNOTSUPP, errno
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from posix.mman cimport madvise
from posix.unistd cimport close, read, write

from zchttpd._core.check cimport unlikely
from zchttpd._core.completions cimport completions_add
from zchttpd._core.machine cimport READ_QUEUES, READS_MAX
from zchttpd._core.mapping cimport MADV_COLLAPSE
from zchttpd._core.op cimport OP_ASIDE, OP_COLLAPSE, OP_NOWAIT
from zchttpd._core.uio cimport RWF_NOWAIT, iovec, preadv2

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    enum:
        SIG_SETMASK
    int sigfillset(sigset_t* signals)
    int pthread_sigmask(int how, const sigset_t* signals, sigset_t* before)

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_attr_t:
        pass
    enum:
        PTHREAD_CREATE_DETACHED
    int pthread_attr_init(pthread_attr_t* attributes)
    int pthread_attr_destroy(pthread_attr_t* attributes)
    int pthread_attr_setdetachstate(pthread_attr_t* attributes, int state)
    int pthread_attr_setstacksize(pthread_attr_t* attributes, size_t bytes)
    int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*) noexcept nogil, void* of)
    int pthread_mutex_init(pthread_mutex_t* lock, void* attributes)
    int pthread_mutex_destroy(pthread_mutex_t* lock)
    int pthread_mutex_lock(pthread_mutex_t* lock)
    int pthread_mutex_unlock(pthread_mutex_t* lock)
    int pthread_cond_init(pthread_cond_t* some, void* attributes)
    int pthread_cond_destroy(pthread_cond_t* some)
    int pthread_cond_signal(pthread_cond_t* some)
    int pthread_cond_broadcast(pthread_cond_t* some)
    int pthread_cond_wait(pthread_cond_t* some, pthread_mutex_t* lock)

cdef extern from "<sys/eventfd.h>" nogil:
    enum:
        EFD_CLOEXEC
        EFD_NONBLOCK
    int eventfd(unsigned int start, int flags)

cdef enum:
    THREADS_MAX = (READ_QUEUES - 1) * READS_MAX     # one for each read that devices have under way
    STACK_SIZE = 128 * 1024


cdef Readers* readers_open() noexcept nogil:
    """Ready for reads, without a thread yet. NULL with errno set when there is no memory or no descriptor."""
    cdef Readers* readers = <Readers*>calloc(1, sizeof(Readers))
    if readers == NULL:
        return NULL
    readers.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    if readers.event < 0:
        free(readers)
        return NULL
    pthread_mutex_init(&readers.lock, NULL)
    pthread_cond_init(&readers.some, NULL)
    return readers


cdef void _free(Readers* readers) noexcept nogil:
    pthread_cond_destroy(&readers.some)
    pthread_mutex_destroy(&readers.lock)
    close(readers.event)
    free(readers)


cdef void _free_list(Read* item) noexcept nogil:
    cdef Read* after
    while item != NULL:
        after = item.next
        free(item)
        item = after


cdef uint32_t readers_close(Readers* readers) noexcept nogil:
    """Forget what has not begun and end the threads. Returns how many reads are still under way: unless it is 0 the memory
    that they read into must stay for as long as the process lives."""
    cdef uint32_t reading
    cdef uint32_t threads
    pthread_mutex_lock(&readers.lock)
    readers.closing = 1
    _free_list(readers.first)
    _free_list(readers.done)
    readers.first = NULL
    readers.done = NULL
    reading = readers.reading
    threads = readers.threads
    pthread_cond_broadcast(&readers.some)
    pthread_mutex_unlock(&readers.lock)
    # Otherwise the last thread does it.
    if threads == 0:
        _free(readers)
    return reading


cdef bint readers_read(Readers* readers, const Op* op, int32_t* res) noexcept nogil:
    """Read from the page cache. True when that is done, with the bytes read or -errno in `res`. What is not there a thread
    reads, as it does all where the file system cannot tell, or may hang: False, and it is collected later. A thread makes
    huge pages too."""
    cdef ssize_t got
    if op.kind != OP_COLLAPSE and not op.flags & OP_ASIDE:
        got = _read(op, RWF_NOWAIT)
        if got >= 0 or op.flags & OP_NOWAIT or (errno != EAGAIN and errno != EOPNOTSUPP):
            res[0] = -errno if got < 0 else <int32_t>got
            return True
    res[0] = _push(readers, op)
    return res[0] < 0


cdef inline ssize_t _read(const Op* op, int flags) noexcept nogil:
    cdef iovec vector
    vector.iov_base = op.address
    vector.iov_len = op.length
    return preadv2(op.fd, &vector, 1, <int64_t>op.offset, flags)


cdef int _push(Readers* readers, const Op* op) noexcept nogil:
    """Have a thread read. Returns 0, or -ENOMEM or -EAGAIN when there is no memory or no thread."""
    cdef Read* item = <Read*>malloc(sizeof(Read))
    cdef int rc = 0
    if item == NULL:
        return -ENOMEM
    item.next = NULL
    item.op = op[0]
    pthread_mutex_lock(&readers.lock)
    if readers.queued >= readers.idle and readers.threads < THREADS_MAX and not _start(readers) and readers.threads == 0:
        rc = -EAGAIN
        free(item)
    else:
        if readers.first == NULL:
            readers.first = item
        else:
            readers.last.next = item
        readers.last = item
        readers.queued += 1
        pthread_cond_signal(&readers.some)
    pthread_mutex_unlock(&readers.lock)
    return rc


cdef void readers_collect(Readers* readers, Completions* into) noexcept nogil:
    """Complete the reads that are done. Call it when `event` is readable."""
    cdef uint64_t count
    cdef Read* done
    cdef Read* item
    read(readers.event, &count, sizeof(count))
    pthread_mutex_lock(&readers.lock)
    done = readers.done
    readers.done = NULL
    pthread_mutex_unlock(&readers.lock)
    item = done
    while item != NULL:
        completions_add(into, item.op.token, item.res)
        item = item.next
    _free_list(done)


cdef bint _start(Readers* readers) noexcept nogil:
    """One thread more. The lock is held. False when the system has none."""
    cdef pthread_t thread
    cdef pthread_attr_t attributes
    cdef sigset_t every
    cdef sigset_t before
    cdef int rc
    pthread_attr_init(&attributes)
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED)
    pthread_attr_setstacksize(&attributes, STACK_SIZE)
    # Signals are for the thread that runs the loop.
    sigfillset(&every)
    pthread_sigmask(SIG_SETMASK, &every, &before)
    rc = pthread_create(&thread, &attributes, _run, readers)
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    pthread_attr_destroy(&attributes)
    if rc == 0:
        readers.threads += 1
    return rc == 0


cdef void* _run(void* of) noexcept nogil:
    """The body of a thread."""
    cdef Readers* readers = <Readers*>of
    cdef Read* item
    cdef uint64_t one = 1
    cdef ssize_t got
    cdef bint last
    pthread_mutex_lock(&readers.lock)
    while True:
        while readers.first == NULL and not readers.closing:
            readers.idle += 1
            pthread_cond_wait(&readers.some, &readers.lock)
            readers.idle -= 1
        if readers.closing:
            break
        item = readers.first
        readers.first = item.next
        readers.queued -= 1
        readers.reading += 1
        pthread_mutex_unlock(&readers.lock)
        if item.op.kind == OP_COLLAPSE:
            got = madvise(item.op.address, item.op.length, MADV_COLLAPSE)
        else:
            got = _read(&item.op, 0)
        item.res = -errno if got < 0 else <int32_t>got
        pthread_mutex_lock(&readers.lock)
        readers.reading -= 1
        if unlikely(readers.closing):
            free(item)
            break
        item.next = readers.done
        readers.done = item
        write(readers.event, &one, sizeof(one))
    readers.threads -= 1
    last = readers.threads == 0
    pthread_mutex_unlock(&readers.lock)
    if last:
        _free(readers)
    return NULL

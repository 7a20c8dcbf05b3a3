"""A look at a plain path beneath the root: what `Lookup.look` tells of a regular file that has nothing beside it.

openat2(2), never through a symlink, nor to another mount, which may hang, and never waiting for a directory that has to be
read first (RESOLVE_CACHED). The file is opened for reading only when it is known to be one: who opens a FIFO wakes up its
writer.
"""

from libc.errno cimport EAGAIN, EFBIG, EINVAL, ENOENT, errno
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, strcpy, strlen
from posix.time cimport timespec
from posix.unistd cimport close

from zchttpd._core.file_version cimport SECOND_NS, file_version_same
from zchttpd._core.plain_path cimport PATH_SIZE_MAX
from zchttpd._core.uio cimport RWF_NOWAIT, iovec, preadv2

cdef extern from "<errno.h>" nogil:
    enum:
        EEXIST
        ESTALE

cdef extern from "<fcntl.h>" nogil:
    enum:
        AT_SYMLINK_NOFOLLOW
        O_CLOEXEC
        O_NOCTTY
        O_NONBLOCK
        O_PATH
        O_RDONLY

cdef extern from "<sys/stat.h>" nogil:
    cdef struct stat_t "stat":
        uint64_t st_dev
        uint64_t st_ino
        uint32_t st_mode
        int64_t st_size
        timespec st_mtim
        timespec st_ctim
    int fstat(int fd, stat_t* status)
    int fstatat(int directory, const char* path, stat_t* status, int flags)
    int stat(const char* path, stat_t* status)
    bint S_ISREG(uint32_t mode)

cdef extern from "<unistd.h>" nogil:
    long syscall(long number, ...)

cdef struct OpenHow:        # struct open_how of linux/openat2.h
    uint64_t flags
    uint64_t mode
    uint64_t resolve

cdef enum:
    OPENAT2 = 437           # on every architecture but alpha
    RESOLVE_NO_XDEV = 0x01
    RESOLVE_NO_MAGICLINKS = 0x02
    RESOLVE_NO_SYMLINKS = 0x04
    RESOLVE_BENEATH = 0x08
    RESOLVE_CACHED = 0x20
    SUFFIX_SIZE_MAX = 4

cdef const char* SUFFIXES = b".br\0.zst\0.gz\0"     # SIBLINGS of files/lookup.py


cdef int _open(int root, const char* path, uint64_t flags) noexcept nogil:
    """A new descriptor, or -errno."""
    cdef OpenHow how
    cdef long fd
    how.flags = flags | O_CLOEXEC
    how.mode = 0
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED
    fd = syscall(OPENAT2, root, path, &how, sizeof(how))
    return <int>fd if fd >= 0 else -errno


cdef int32_t _version_of(int fd, FileVersion* version) noexcept nogil:
    """Of an open file: 0, or -errno, which is -EINVAL for what is no regular file."""
    cdef stat_t status
    if fstat(fd, &status) < 0:
        return -errno
    version.dev = status.st_dev
    version.ino = status.st_ino
    version.size = <uint64_t>status.st_size
    version.mtime_ns = <int64_t>(<uint64_t>status.st_mtim.tv_sec * SECOND_NS + <uint64_t>status.st_mtim.tv_nsec)
    version.ctime_ns = <int64_t>(<uint64_t>status.st_ctim.tv_sec * SECOND_NS + <uint64_t>status.st_ctim.tv_nsec)
    return 0 if S_ISREG(status.st_mode) else -EINVAL


cdef int32_t _read(Look* look, int fd) noexcept nogil:
    """All bytes of the version, if they are at hand: 0, or -errno, which is -ESTALE when it is another by now."""
    cdef FileVersion now
    cdef iovec vector
    cdef ssize_t got
    vector.iov_base = look.to
    vector.iov_len = look.version.size
    got = preadv2(fd, &vector, 1, 0, RWF_NOWAIT)
    if got < 0:
        return -errno
    if <uint64_t>got != look.version.size:
        return -EAGAIN
    if _version_of(fd, &now) < 0 or not file_version_same(&now, &look.version):
        return -ESTALE
    return 0


cdef bint _has_sibling(int root, char* path, uint32_t length) noexcept nogil:
    """Whether anything may lie beside the file under a sibling's name. `path` has room for a suffix."""
    cdef const char* suffix = SUFFIXES
    cdef stat_t status
    while suffix[0]:
        strcpy(path + length, suffix)
        suffix += strlen(suffix) + 1
        if fstatat(root, path, &status, AT_SYMLINK_NOFOLLOW) == 0 or errno != ENOENT:
            return True
    return False


cdef int32_t look_at(Look* look, int root) noexcept nogil:
    """0, or -errno: -EINVAL for what is no regular file, -EEXIST where something may lie beside it, -EFBIG for bytes that
    are wanted and are none, or more than there is room for; -EAGAIN for what cannot be had without waiting, of openat2(2)
    and preadv2(2). The names beside the file are asked for as stat(2) does: their directory has just been passed."""
    cdef char[PATH_SIZE_MAX + SUFFIX_SIZE_MAX + 1] path
    cdef int32_t result
    cdef int fd
    memcpy(path, look.path, look.length)
    path[look.length] = 0
    fd = _open(root, path, O_PATH)
    if fd < 0:
        return fd
    result = _version_of(fd, &look.version)
    close(fd)
    if result < 0:
        return result
    if look.to != NULL and not 0 < look.version.size <= look.room:
        return -EFBIG
    if look.siblings and _has_sibling(root, path, look.length):
        return -EEXIST
    if look.to == NULL:
        return 0
    path[look.length] = 0
    fd = _open(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY)
    if fd < 0:
        return fd
    result = _read(look, fd)
    close(fd)
    return result


cdef int32_t look_at_root(const RootPath* root) noexcept nogil:
    """0, or -ESTALE when the path leads to another directory. While it leads nowhere, the one known before stays."""
    cdef stat_t status
    if stat(root.path, &status) < 0 or (status.st_dev == root.dev and status.st_ino == root.ino):
        return 0
    return -ESTALE

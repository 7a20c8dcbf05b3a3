"""The test hooks for `new_paths` and what it is made of; `SimWorker` is the worker."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from zchttpd._core.budget cimport budget_forget_own
from zchttpd._core.look cimport Look, RootPath, look_at, look_at_root
from zchttpd._core.plain_path cimport PlainPath, plain_path
from zchttpd._core.site cimport site_matches
from zchttpd._core.site_worker cimport SiteWorker


def matches(pattern: bytes, path: bytes) -> bool:
    """Whether a pattern of `*` and `?` matches a path, as the machine has it."""
    return site_matches(pattern, path, len(path))


def plain(key: bytes) -> tuple[bytes, bytes] | None:
    """Path and extension of a cache key that asks for a plain path."""
    cdef PlainPath path
    if not plain_path(key, len(key), &path):
        return None
    found = key[path.begin:path.begin + path.length]
    return found, found[path.length - path.extension:]


def look(root: int, path: bytes, siblings: bool, room: int | None) -> tuple[int, tuple, bytes]:
    """(0 or errno, version, bytes) of a look in a directory; without `room` nothing is read."""
    cdef Look looked
    cdef int error
    memset(&looked, 0, sizeof(Look))
    looked.path = path
    looked.length = len(path)
    looked.siblings = siblings
    if room is not None:
        looked.to = <char*>malloc(room)
        looked.room = room
    error = -look_at(&looked, root)
    content = PyBytes_FromStringAndSize(looked.to, looked.version.size) if looked.to != NULL and not error else b""
    free(looked.to)
    return error, _version(&looked), content


cdef tuple _version(const Look* looked):
    return (looked.version.dev, looked.version.ino, looked.version.size, looked.version.mtime_ns, looked.version.ctime_ns)


def look_at_path(path: bytes, dev: int, ino: int) -> int:
    """0 where a path leads to this directory, else errno."""
    cdef RootPath root
    root.path = path
    root.dev = dev
    root.ino = ino
    return -look_at_root(&root)


def looked_for(address: int) -> tuple[bytes, bool, int]:
    """(path, whether siblings count, bytes of room, -1 where nothing is to be read) of the Look of an op."""
    cdef Look* looked = <Look*><uintptr_t>address
    return (PyBytes_FromStringAndSize(looked.path, looked.length), looked.siblings,
            looked.room if looked.to != NULL else -1)


def find(address: int, version: tuple, content: bytes) -> None:
    """What it finds."""
    cdef Look* looked = <Look*><uintptr_t>address
    (looked.version.dev, looked.version.ino, looked.version.size, looked.version.mtime_ns, looked.version.ctime_ns) = version
    if looked.to != NULL:
        memcpy(looked.to, <const char*>content, len(content))


def own(worker: SiteWorker) -> int:
    """Bytes of the images that the machine remembers by itself."""
    return worker.machine.table.own_bytes


def forget_own(worker: SiteWorker) -> None:
    """Let go of all that nobody is being sent."""
    budget_forget_own(&worker.machine)


def look_for(address: int, root: int) -> int:
    """The result of the Look of an op in a real directory."""
    return look_at(<Look*><uintptr_t>address, root)


def look_for_root(address: int) -> int:
    """And of that of a RootPath."""
    return look_at_root(<RootPath*><uintptr_t>address)

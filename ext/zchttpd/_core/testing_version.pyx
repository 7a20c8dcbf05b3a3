"""The test hook for `version`: apart from the others, as it reaches files and not to the machine."""

from zchttpd._core.version cimport Version, version_announce, version_holds, version_match, version_take


cdef class Announced:
    """As files/announced.py has it, but that `hold` takes all bytes of a copy."""

    cdef Version version
    cdef int fd

    def __cinit__(self, fd: int, size: int, mtime_ns: int, grown: bool = False):
        self.fd = fd
        version_announce(&self.version, size, mtime_ns, False)
        self.version.lost = not version_take(&self.version, fd, grown)

    def hold(self, copy: bytes | None = None) -> bool:
        cdef const char* content
        if copy is not None:
            content = copy
            version_match(&self.version, content)
        # For good, as machine_version_holds has it.
        self.version.lost = self.version.lost or not version_holds(&self.version, self.fd, True)
        return not self.version.lost

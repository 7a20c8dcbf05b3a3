"""What the simulated kernel says of paths that the machine looks at by itself."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from zchttpd._core import testing, testing_site

from .exchange import mtime_ns
from .parts import Violation

if TYPE_CHECKING:
    from .exchange import Ask
    from .kernel import Kernel

FIRST_ROOT = 2_000_000
DEVICE = 7
CONTENT_MAX = 300  # bytes, of a file
# Of a look that fails: what the handler must wait for, or say; and that there is no descriptor, or no memory.
FAILURES = (errno.EAGAIN, errno.ENOENT, errno.EEXIST, errno.EINVAL, errno.EACCES)
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
Version = tuple[int, int, int, int, int]


class Disk(Protocol):
    """Where the files are."""

    def read(self, name: str, version: int | None = None) -> bytes: ...

    def state(self, name: str) -> tuple[int, int]: ...

    def trust(self, name: str) -> None:
        """Nobody can look at the file now."""


def version_at(name: str, version: int, size: int) -> Version:
    """What stat(2) says of a version of a file."""
    return DEVICE, len(name) + version, size, mtime_ns(version), mtime_ns(version)


class Looks:
    """The root, and looks at what lies beneath it."""

    disk: Disk

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.root = FIRST_ROOT  # descriptor of where the path leads
        self.open: set[int] = set()  # those that the machine has
        self.refused: set[int] = set()  # roots that it had no memory for, and is about to close
        self.left = False  # it has been told that the path leads elsewhere
        self.own_bytes_max = 0

    def begin(self, machine: testing.SimWorker, revalidate_ms: int) -> None:
        """In some worlds the machine knows the site."""
        if self.kernel.rng.random() < 0.3:
            return
        self.own_bytes_max = self.kernel.rng.choice((1, 1000, 100_000))
        limits = {
            "memory": self.kernel.rng.choice((1000, 1 << 20)),
            "own_bytes_max": self.own_bytes_max,
            "content_max": CONTENT_MAX,
            "revalidate_ms": revalidate_ms,
            "given_max": 8,
        }
        machine.know_site(limits, [b"*/plain0*"], self.kernel.rng.random() < 0.5)
        machine.trust(DEVICE)
        self.turn(machine)

    def turn(self, machine: testing.SimWorker) -> None:
        """The machine is told where the path leads now. Raises MemoryError."""
        if self.own_bytes_max and self.root not in self.open:
            self.open.add(self.root)
            try:
                machine.turn_to(self.root, b"/srv", 1, self.root)
            except MemoryError:
                self.refused.add(self.root)
                raise
            self.left = False

    def check_root(self, op: testing.ExecutedOp) -> int:
        if self.root in self.open and self.kernel.chance("root_left"):
            self.root += 1
        self.left = self.root not in self.open - self.refused
        self.kernel.events["root_left"] += self.left
        return -errno.ESTALE if self.left else 0

    def look(self, op: testing.ExecutedOp) -> int:
        path, _, room = testing_site.looked_for(op.address)
        name, read = path.decode(), room >= 0
        if op.fd not in self.open or self.left:
            raise Violation(f"a look in a directory that is not the root: {op}")
        self.kernel.events["look_new" if read else "look_again"] += 1
        if self.kernel.chance("look_fails"):
            self.kernel.events["look_fails"] += 1
            return -self.kernel.rng.choice(FAILURES)
        if self.kernel.chance("no_descriptors"):
            self.kernel.events["no_descriptors"] += 1
            if not read:
                self.disk.trust(name)
            return -self.kernel.rng.choice(EXHAUSTED)
        content = self.disk.read(name)
        if read and len(content) > room:
            return -errno.EFBIG
        testing_site.find(op.address, version_at(name, self.disk.state(name)[0], len(content)), content)
        if read and self.kernel.chance("look_short"):
            # Only a part of it was at hand, or it has been written to since.
            self.kernel.events["look_short"] += 1
            return -self.kernel.rng.choice((errno.EAGAIN, errno.ESTALE))
        self.kernel.events["by_itself"] += read
        return 0

    def close(self, fd: int) -> bool:
        """Whether it was a root, which is closed now."""
        if fd not in self.open:
            return False
        if fd == self.root and fd not in self.refused:
            raise Violation("the root is closed")
        self.refused.discard(fd)
        self.open.remove(fd)
        return True

    def must_be_had(self, machine: testing.SimWorker, ask: Ask, version: int) -> None:
        """What the machine says that was given is a version that the file has, or had."""
        given = machine.given(ask.name.encode())
        if given is not None and given not in [
            version_at(ask.name, each, ask.size) for each in range(1, version + 1)
        ]:
            raise Violation(f"it never had this version: {given}")

    def check(self, machine: testing.SimWorker) -> None:
        """What the machine remembers by itself is no more than it may."""
        own = testing_site.own(machine)
        if own > self.own_bytes_max + machine.gauge("held_bytes"):
            raise Violation(f"{own} bytes of its own, it may have {self.own_bytes_max}")

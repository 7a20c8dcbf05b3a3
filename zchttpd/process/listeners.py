"""The listening sockets of the workers: kept open for as long as anybody may be waiting in their queues."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from typing import TYPE_CHECKING

from zchttpd.engine.listener import Listener
from zchttpd.process.sockets import open_for, set_stall

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from zchttpd.config.settings import Settings
    from zchttpd.process.sockets import Address

# Of linux/socket.h, linux/filter.h and linux/bpf_common.h: socket(7), "SO_ATTACH_REUSEPORT_CBPF".
_SO_ATTACH_REUSEPORT_CBPF = 51
_LOAD_RANDOM = (0x20, 0, 0, 0xFFFFF000 + 56)
_MODULO = 0x94
_RETURN_A = (0x16, 0, 0, 0)


class _Sockets:
    """Those of one address."""

    def __init__(self, address: Address) -> None:
        self._sockets = address.sockets
        self.proxy = address.proxy
        # Who passed several may have chosen some.
        self._chosen = address.passed > 1
        # The name of a socket that was passed is not ours to remove.
        self._name = address.name
        self._identity = _identity(self._name) if self._name else None

    def __len__(self) -> int:
        return len(self._sockets)

    def __getitem__(self, worker: int) -> socket.socket:
        return self._sockets[worker]

    def is_shared(self, worker: int) -> bool:
        """Whether others have the queue of this one."""
        queues = self._queues()
        return queues.count(queues[worker]) > 1

    def grow(self, count: int) -> None:
        """See `Listeners`."""
        queues = len({*self._queues()})
        while len(self) < count:
            self._sockets.append(self._sockets[len(self) % queues].dup())

    def choose(self, count: int) -> None:
        """See `Listeners`."""
        queues = self._queues()
        if len({*queues}) == 1 or (count == len(self) and not self._chosen):
            return
        self._chosen = True
        count = len({*queues[:count]})
        program = b"".join(
            struct.pack("=HBBI", *each) for each in (_LOAD_RANDOM, (_MODULO, 0, 0, count), _RETURN_A)
        )
        code = ctypes.create_string_buffer(program, len(program))
        # struct sock_fprog: the number of instructions, and where they are.
        option = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
        self._sockets[0].setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, option)

    def set_stall(self, stall_ms: int) -> None:
        """See `Listeners`."""
        for listener in self._sockets:
            set_stall(listener, stall_ms)

    def drop(self, count: int) -> None:
        """See `Listeners`."""
        while len(self) > count:
            self._sockets.pop().close()

    def _queues(self) -> list[int]:
        """The number of the socket behind each: a copy has that of the first."""
        return [os.fstat(listener.fileno()).st_ino for listener in self._sockets]

    def close(self, keep: Collection[socket.socket]) -> None:
        """See `Listeners`."""
        for listener in self._sockets:
            if listener not in keep:
                listener.close()

    def disown(self) -> None:
        """See `Listeners`."""
        self._name = ""

    def unlink(self) -> None:
        """See `Listeners`."""
        with contextlib.suppress(OSError):
            if self._name and _identity(self._name) == self._identity:
                os.unlink(self._name)


class Listeners:
    """Opened when made, at each address `count` of them or as many as were passed. Raises StartError.

    A worker that ends leaves its sockets to the next one: a connection that waits in the queue of a socket
    which the last process closes is reset.
    """

    def __init__(self, settings: Settings, passed: Sequence[tuple[int, bool]], count: int) -> None:
        self._addresses = [_Sockets(each) for each in open_for(settings, passed, count)]
        # No queue may be without a worker, and no worker without a queue of each address.
        self.grow(max(map(len, self._addresses)))

    def __len__(self) -> int:
        return len(self._addresses[0])

    def __getitem__(self, worker: int) -> list[Listener]:
        return [Listener(each[worker], each.proxy, each.is_shared(worker)) for each in self._addresses]

    @property
    def first(self) -> list[Listener]:
        """Whose addresses are those of all."""
        return self[0]

    @property
    def all(self) -> list[Listener]:
        """Those of every worker."""
        return [each for worker in range(len(self)) for each in self[worker]]

    def grow(self, count: int) -> None:
        """See that there are `count` at least. Who is added shares the queue of another.

        A queue of its own would be given connections before its worker can accept them.
        """
        for each in self._addresses:
            each.grow(count)

    def choose(self, count: int) -> None:
        """From now on the kernel gives new connections to the first `count` alone; the rest is emptied.

        Raises OSError where the kernel cannot.
        """
        for each in self._addresses:
            each.choose(count)

    def set_stall(self, stall_ms: int) -> None:
        """Have what is accepted from now on give up as `sockets.open_listeners` says."""
        for each in self._addresses:
            each.set_stall(stall_ms)

    def drop(self, count: int) -> None:
        """Close all but the first `count`, whose queues are empty."""
        for each in self._addresses:
            each.drop(count)

    def close(self, *, keep: Iterable[Listener] = ()) -> None:
        """Close all but `keep`: while one copy is open the kernel goes on accepting for it."""
        sockets = {each.socket for each in keep}
        for each in self._addresses:
            each.close(sockets)

    def disown(self) -> None:
        """The names of the unix sockets are another process's to remove."""
        for each in self._addresses:
            each.disown()

    def unlink(self) -> None:
        """Remove the names of our unix sockets that still are ours. The next start replaces what is left."""
        for each in self._addresses:
            each.unlink()


def _identity(path: str) -> tuple[int, int]:
    facts = os.lstat(path)
    return facts.st_dev, facts.st_ino

"""A ring takes what the server asks of it, and nothing else, whoever asks."""

from __future__ import annotations

import ctypes
import errno

import pytest
from zchttpd._core.testing_ring import OpenRing

pytestmark = [pytest.mark.uring, pytest.mark.locked]

SYS_IO_URING_REGISTER = 427
# include/uapi/linux/io_uring.h: names and numbers of what is used.
SQE_OPS = {
    "POLL_ADD": 6, "ACCEPT": 13, "ASYNC_CANCEL": 14, "CLOSE": 19, "READ": 22, "MADVISE": 25, "SEND": 26,
    "RECV": 27, "PROVIDE_BUFFERS": 31, "SEND_ZC": 47,
}  # fmt: skip
SQE_OPS_ALL = 48
SQE_FLAGS = {"IO_LINK": 1 << 2, "ASYNC": 1 << 4, "BUFFER_SELECT": 1 << 5}
SQE_FLAGS_ALL = 7
REGISTER_OPS = {"BUFFERS_UPDATE": 16, "UNREGISTER_RING_FDS": 21}
REGISTER_OPS_ALL = 24
# Each way of setting up that the features decide.
WITHOUT = [
    (),
    ("registered_ring_fd",),
    ("defer_taskrun",),
    ("single_issuer", "defer_taskrun"),
    ("buffer_ring",),
]


def register(ring: OpenRing, opcode: int) -> int:
    """The errno of an io_uring_register(2) without arguments, or 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = (SYS_IO_URING_REGISTER, ring.fd, opcode, 0, 0)
    done = libc.syscall(*(ctypes.c_long(word) for word in words))
    return ctypes.get_errno() if done < 0 else 0


@pytest.mark.parametrize("without", WITHOUT)
def test_only_operations_in_use(without: tuple[str, ...]) -> None:
    ring = OpenRing(without)
    refused = {opcode for opcode in range(SQE_OPS_ALL) if ring.ask(opcode) == -errno.EACCES}
    assert refused == set(range(SQE_OPS_ALL)) - set(SQE_OPS.values())


def test_only_flags_in_use() -> None:
    ring = OpenRing()
    flags = [1 << bit for bit in range(SQE_FLAGS_ALL)]
    refused = {flag for flag in flags if ring.ask(SQE_OPS["POLL_ADD"], flag) == -errno.EACCES}
    assert refused == set(flags) - set(SQE_FLAGS.values())


@pytest.mark.parametrize("without", WITHOUT)
def test_only_register_operations_in_use(without: tuple[str, ...]) -> None:
    ring = OpenRing(without)
    refused = {opcode for opcode in range(REGISTER_OPS_ALL) if register(ring, opcode) == errno.EACCES}
    used = set(REGISTER_OPS.values())
    if "registered_ring_fd" in without:
        used.remove(REGISTER_OPS["UNREGISTER_RING_FDS"])
    assert refused == set(range(REGISTER_OPS_ALL)) - used


def test_without_restrictions_it_takes_anything() -> None:
    """What the others see is the restrictions' doing."""
    ring = OpenRing(("restrictions",))
    assert ring.ask(0) == 0
    assert not any(ring.ask(opcode) == -errno.EACCES for opcode in SQE_OPS.values())
    assert register(ring, 0) not in (0, errno.EACCES)

"""A file that somebody appends to while it is served: what it has at any place follows from the place."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WORD = 8


_known = bytearray()


def stretch(offset: int, length: int) -> bytes:
    """The bytes there, however long the file is by now: words that tell where they are."""
    first = len(_known) // WORD
    last = (offset + length) // WORD + 1
    if last > first:
        _known.extend(b"".join(b"%08d" % number for number in range(first, last)))
    return bytes(_known[offset : offset + length])


@contextmanager
def appending(path: Path, every_s: float, size: int = 100) -> Iterator[Callable[[], int]]:
    """Appends `size` bytes again and again; tells how often it has."""
    over = threading.Event()
    times = 0

    def write() -> None:
        nonlocal times
        with open(path, "ab", buffering=0) as file:
            at = path.stat().st_size
            while not over.wait(every_s):
                file.write(stretch(at, size))
                at += size
                times += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield lambda: times
    finally:
        over.set()
        writer.join()


# fanotify(7): the C library has it, Python has no names for it.
_CLASS_CONTENT, _MARK_ADD, _ACCESS_PERM, _ALLOW = 4, 1, 0x20000, 1
_EVENT = struct.Struct("=IBBHQii")


@contextmanager
def before_reads(path: Path, act: Callable[[int], None]) -> Iterator[None]:
    """`act` is called with 1, 2 ... before each read(2) of the file, which waits for it. For root alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fanotify_mark.argtypes = [
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint64,
        ctypes.c_int,
        ctypes.c_char_p,
    ]
    listener = libc.fanotify_init(_CLASS_CONTENT, os.O_RDONLY)
    if listener < 0 or libc.fanotify_mark(listener, _MARK_ADD, _ACCESS_PERM, -100, os.fsencode(path)) < 0:
        pytest.skip(f"fanotify is not permitted here: {os.strerror(ctypes.get_errno())}")
    end, over = os.pipe()

    def listen() -> None:
        number = 0
        while end not in select.select([listener, end], [], [])[0]:
            events = os.read(listener, 4096)
            for *_, opened, _pid in _EVENT.iter_unpack(events):
                number += 1
                act(number)
                os.write(listener, struct.pack("=iI", opened, _ALLOW))
                os.close(opened)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield
    finally:
        os.close(over)
        thread.join()
        os.close(listener)
        os.close(end)

"""What a worker does to its own process before it serves."""

from __future__ import annotations

import subprocess
import sys

import pytest

# mallinfo2(3): the fourth number is how many blocks are mapped.
MAPPED = """
import ctypes
from zchttpd.process.worker import return_large_blocks

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
fields = {"_fields_": [("numbers", ctypes.c_size_t * 10)]}
libc.mallinfo2.restype = type("mallinfo2", (ctypes.Structure,), fields)
if BEFORE:
    return_large_blocks()
libc.free(libc.malloc(8 << 20))
before = libc.mallinfo2().numbers[3]
libc.malloc(1 << 20)
print(libc.mallinfo2().numbers[3] - before)
"""


@pytest.mark.parametrize("tuned", [True, False])
def test_the_memory_of_a_large_block_goes_back(tuned: bool) -> None:
    """Also after a larger one has been freed, from when on glibc would keep those."""
    done = subprocess.run(
        [sys.executable, "-c", MAPPED.replace("BEFORE", str(tuned))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(int(tuned))

"""What the probe says of this kernel, and what it says when the kernel says no."""

from __future__ import annotations

import errno
import json
import mmap
import subprocess
import sys
from pathlib import Path

import pytest
from zchttpd._core.testing_ring import OpenRing

from zchttpd._core.ring_setup import FEATURES, gives_back_at_once, probe

from .conftest import REFUSE_RING

PROBE = (
    "import json; from zchttpd._core.ring_setup import gives_back_at_once, probe;"
    " print(json.dumps({**probe(), 'at_once': gives_back_at_once()}))"
)

pytestmark = [pytest.mark.uring, pytest.mark.locked]

NOP = 0  # IORING_OP_NOP, which no ring of ours takes
# What a feature stands on: without the one below it cannot be had.
BELOW = {"single_issuer": {"defer_taskrun"}, "send_zc": {"report_usage"}}


def test_opens_and_names_every_rung() -> None:
    found = probe()
    assert found.pop("error") == ""
    assert set(found) == set(FEATURES)
    assert all(isinstance(there, bool) for there in found.values())


@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_without_a_feature(feature: str) -> None:
    """It and what stands on it are missing, everything else is as before."""
    whole, less = probe(), probe((feature,))
    assert less["error"] == ""
    assert not less[feature]
    gone = {name for name in FEATURES if whole[name] and not less[name]}
    assert gone <= {feature, *BELOW.get(feature, set())}


def test_without_all_rungs() -> None:
    found = probe(tuple(FEATURES))
    assert found.pop("error") == ""
    assert not any(found.values())


def test_unknown_rung() -> None:
    with pytest.raises(KeyError):
        probe(("sqpoll",))


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_refused(number: int) -> None:
    done = subprocess.run(
        [sys.executable, str(REFUSE_RING), str(number), sys.executable, "-P", "-c", PROBE],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found.pop("error") == errno.errorcode[number]
    assert found.pop("at_once") is None
    assert not any(found.values())


def test_leaves_no_descriptor_behind() -> None:
    count = (
        "import os; before = len(os.listdir('/proc/self/fd')); probe(); gives_back_at_once();"
        " print(len(os.listdir('/proc/self/fd')) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"from zchttpd._core.ring_setup import *; {count}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "0"


def test_receive_buffers_that_fill_the_queue() -> None:
    """Without a buffer ring each is an op. Where little can be locked the queue is small: they fill it."""
    ring = OpenRing(("buffer_ring",), buffers=4096)
    assert ring.ask(NOP) == -errno.EACCES


def pinned() -> int:
    """Bytes of this process that the kernel has pinned, as registered memory is (proc(5), VmPin)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    [value] = [line.split()[1] for line in lines if line.startswith("VmPin:")]
    return int(value) * 1024


def test_when_registered_memory_comes_back() -> None:
    """What the probe says is what the kernel's own account says of a ring as a worker has it."""
    ring, before = OpenRing(), pinned()
    with mmap.mmap(-1, 1 << 20) as memory:
        assert ring.register(memory) == 0
        assert pinned() == before + (1 << 20)
        assert ring.clear() == 0
        at_once = pinned() == before
    assert gives_back_at_once() is at_once

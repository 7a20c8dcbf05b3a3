"""The io_uring engine before its ring is there."""

from __future__ import annotations

import errno
import signal
from pathlib import Path
from typing import Any

import pytest

from zchttpd.config.settings import Settings
from zchttpd.engine.limits import registered_max
from zchttpd.engine.uring import ROOM_S_MAX, Uring

MIB = 1 << 20


class Rings:
    """Stands for UringWorker: refused with these errors, one after the other, and then there."""

    def __init__(self, *errors: int) -> None:
        self.errors = [*errors]
        self.now_s = 0.0

    def __call__(self, **_options: Any) -> Rings:
        if self.errors:
            raise OSError(self.errors.pop(0), "refused")
        return self

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def make(monkeypatch: pytest.MonkeyPatch, rings: Rings) -> object:
    monkeypatch.setattr("zchttpd.engine.uring.UringWorker", rings)
    monkeypatch.setattr("time.monotonic", lambda: rings.now_s)
    monkeypatch.setattr("time.sleep", rings.sleep)
    monkeypatch.setattr(signal, "set_wakeup_fd", lambda *_, **__: -1)
    return Uring(Settings(root=Path()), shared=False, lockable=1 << 30).make(waker=0)


def test_memory_that_another_ring_gives_back_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rings = Rings(errno.ENOMEM, errno.ENOMEM)
    assert make(monkeypatch, rings) is rings
    assert rings.errors == []


@pytest.mark.parametrize(
    ("number", "waited_s"), [(errno.ENOMEM, ROOM_S_MAX), (errno.EPERM, 0.0), (errno.ENOSYS, 0.0)]
)
def test_a_ring_that_is_refused_is_refused(
    monkeypatch: pytest.MonkeyPatch, number: int, waited_s: float
) -> None:
    rings = Rings(*[number] * 1000)
    with pytest.raises(OSError, match="refused") as caught:
        make(monkeypatch, rings)
    assert caught.value.errno == number
    assert rings.now_s == pytest.approx(waited_s, abs=1)


@pytest.mark.parametrize(
    ("lockable", "workers", "most"),
    [
        (8 * MIB, 1, 7 * MIB),
        (8 * MIB, 2, 3 * MIB),
        (8 * MIB, 8, MIB // 4),
        (MIB // 16, 1, MIB // 64),
        (0, 1, 0),
    ],
)
def test_a_ring_has_its_part_of_what_may_be_locked(lockable: int, workers: int, most: int) -> None:
    assert registered_max(Settings(root=Path(), workers=workers), lockable) == most

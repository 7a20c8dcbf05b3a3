"""The sockets of workers that come and go."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from zchttpd.config.settings import Settings
from zchttpd.process.listeners import Listeners

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIENTS = 64


@contextmanager
def opened(tmp_path: Path, count: int, **options: object) -> Iterator[Listeners]:
    listeners = Listeners(Settings(root=tmp_path, port=0, **options), [], count)  # type: ignore[arg-type]
    try:
        yield listeners
    finally:
        listeners.close()
        listeners.unlink()


def queued(listeners: Listeners) -> list[bool]:
    """Of each, whether somebody waits in its queue, after many have come."""
    found = [False] * len(listeners)
    with ExitStack() as clients:
        for _ in range(CLIENTS):
            clients.enter_context(socket.create_connection(listeners.first[0].socket.getsockname()))
        for index in range(len(listeners)):
            listener = listeners[index][0].socket
            while select.select([listener], [], [], 0)[0]:
                found[index] = True
                listener.accept()[0].close()
    return found


def test_who_is_to_go_is_given_nobody(tmp_path: Path) -> None:
    with opened(tmp_path, 3) as listeners:
        listeners.choose(1)
        assert queued(listeners) == [True, False, False]
        listeners.choose(3)
        assert queued(listeners) == [True, True, True]
        listeners.choose(2)
        listeners.drop(2)
        assert queued(listeners) == [True, True]


def test_who_is_added_shares_a_queue(tmp_path: Path) -> None:
    with opened(tmp_path, 2) as listeners:
        listeners.grow(5)
        assert len(listeners) == 5
        assert queued(listeners) == [True, True, False, False, False]
        listeners.choose(3)
        listeners.drop(3)
        assert queued(listeners) == [True, True, False]


def test_only_its_own_name_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with opened(tmp_path, 2, unix=str(path)) as listeners:
        listeners.choose(1)
        listeners.disown()
        listeners.unlink()
        assert path.is_socket()
    with opened(tmp_path, 1, unix=str(path)) as listeners:
        path.unlink()
        path.touch()
        listeners.unlink()
        assert path.exists()
        path.unlink()
    with opened(tmp_path, 1, unix=str(path)):
        assert path.is_socket()
    assert not path.exists()


@pytest.mark.parametrize("stall_ms", [1000, 2000])
def test_what_is_accepted_gives_up_as_the_options_say_now(tmp_path: Path, stall_ms: int) -> None:
    with opened(tmp_path, 2) as listeners:
        listeners.set_stall(stall_ms)
        for index in range(2):
            assert (
                listeners[index][0].socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                == 10 * stall_ms
            )


def test_a_queue_of_several_workers_is_known(tmp_path: Path) -> None:
    with opened(tmp_path, 2) as listeners:
        assert [listeners[worker][0].shared for worker in range(2)] == [False, False]
        listeners.grow(3)
        assert [listeners[worker][0].shared for worker in range(3)] == [True, False, True]
    with opened(tmp_path, 2, unix=str(tmp_path / "socket")) as listeners:
        assert listeners[0][0].shared

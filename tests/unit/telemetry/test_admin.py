"""The admin listener when there is no descriptor left."""

from __future__ import annotations

import errno
import os
import selectors
import socket
from typing import NoReturn

import pytest

from zchttpd.telemetry.admin import ACCEPT_PAUSE_S, Admin, Routes


class OutOfDescriptors(socket.socket):
    """A listener of a process that may open no more."""

    def accept(self) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_visitor_that_cannot_be_accepted_does_not_make_the_supervisor_spin() -> None:
    with OutOfDescriptors() as listener, selectors.DefaultSelector() as selector, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        admin = Admin(listener, selector, Routes(tuple, lambda: True))
        client.connect(listener.getsockname())
        now = 1000.0
        [(key, _)] = selector.select()
        key.data(now)
        assert selector.select(0) == []
        assert admin.expire(now) == pytest.approx(now + ACCEPT_PAUSE_S)
        assert admin.expire(now + ACCEPT_PAUSE_S) is None
        assert len(selector.select(0)) == 1
        admin.close()

"""The fixture `static_server`, for pytest."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Unpack

    from zchttpd.api.options import Options
    from zchttpd.testing.server import Files, StaticServer


class StartServer(Protocol):
    """Starts a server of a directory, or of contents by path: see `StaticServer`."""

    def __call__(self, files: Files, *, seed: int = 0, **options: Unpack[Options]) -> StaticServer: ...


@pytest.fixture
def static_server() -> Iterator[StartServer]:
    """Starts servers, each for the rest of the test: `static_server({"a.bin": content}).url`."""
    # Imported by every run of pytest where zchttpd is installed: what it takes comes with the first server.
    from zchttpd.testing.server import StaticServer

    with contextlib.ExitStack() as servers:

        def start(files: Files, *, seed: int = 0, **options: Unpack[Options]) -> StaticServer:
            return servers.enter_context(StaticServer(files, seed=seed, **options))

        yield start

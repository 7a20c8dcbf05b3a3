"""One server for each engine and send mode, for the whole session; each must be at rest and leave clean in
the end.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import runs
from .cases.site import build_site
from .client import request
from .in_process import Handlers
from .servers import ENGINES, Corner, Server, name_of
from .tree import build

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .case import Case


def engine_param(engine: str, send_mode: str) -> object:
    """A pytest parameter that carries the marker its engine needs."""
    marks = [pytest.mark.uring] if engine == "uring" else []
    return pytest.param((engine, send_mode), id=name_of(engine, send_mode), marks=marks)


class Fleet:
    """Servers of the session, started when first asked for."""

    def __init__(self, root: Path, **options: Any) -> None:
        self._root = root
        self._options = options
        self._running: dict[tuple[str, str], Server] = {}
        self._failed: dict[tuple[str, str], BaseException] = {}
        self._etags: dict[tuple[str, bytes, bytes], bytes] = {}

    def server(self, engine: str, send_mode: str) -> Server:
        """The server of that engine and send mode."""
        key = (engine, send_mode)
        if key in self._failed:
            # One failed start is news; waiting for it again in each of a thousand cases is not.
            raise self._failed[key]
        if key not in self._running:
            try:
                self._running[key] = Server(self._root, engine=engine, send_mode=send_mode, **self._options)
            except AssertionError as error:
                self._failed[key] = error
                raise
        return self._running[key]

    def etags(self, server: Server, case: Case) -> Mapping[tuple[bytes, bytes], bytes]:
        """The entity tags that a case mentions, as this server gives them."""
        return {(path, encoding): self._etag(server, path, encoding) for path, encoding in case.needs_etags}

    def _etag(self, server: Server, path: bytes, encoding: bytes) -> bytes:
        key = (server.name, path, encoding)
        if key not in self._etags:
            lines = [b"Accept-Encoding: " + encoding] if encoding else []
            tag = server.ask(request(path, *lines, method="HEAD")).field(b"etag")
            assert tag, f"{path!r} has no ETag"
            self._etags[key] = tag
        return self._etags[key]

    def corner(self, kind: tuple[str, str]) -> Corner:
        """A new directory in the root of that server."""
        return Corner(self.server(*kind), Path(tempfile.mkdtemp(dir=self._root)))

    def leave(self, complaint: str = "") -> None:
        """Stop all of them; raises one error with all that was wrong but complaints like `complaint`."""
        wrong: list[str] = []
        for server in self._running.values():
            try:
                server.leave_clean(complaint)
            except Exception as error:
                wrong.append(str(error))
        assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that is served."""
    return build(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="session")
def site_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that is served where the options of a site are tested."""
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def handlers(root: Path, site_root: Path) -> Iterator[Handlers]:
    """What answers in this process, without a server."""
    handlers = Handlers(root, site_root)
    yield handlers
    handlers.close()


@pytest.fixture(scope="session")
def fleet(root: Path) -> Iterator[Fleet]:
    """All servers of the session."""
    fleet = Fleet(root)
    yield fleet
    fleet.leave()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test on the servers that runs.py says; cases of tables have theirs already."""
    of_table = "case" in metafunc.fixturenames and hasattr(metafunc.module, "pytest_generate_tests")
    if "kind" in metafunc.fixturenames and not of_table:
        every = metafunc.config.getoption("--matrix") or getattr(metafunc.module, "EVERY_MODE", False)
        kinds = ENGINES if every else runs.one_of_each_engine(metafunc.function.__name__)
        metafunc.parametrize("kind", [engine_param(*each) for each in kinds], indirect=True)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    """(engine, send mode), each in turn."""
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture
def server(fleet: Fleet, kind: tuple[str, str]) -> Server:
    """The session's server of each engine and send mode in turn."""
    return fleet.server(*kind)

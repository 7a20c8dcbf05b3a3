"""One certificate, one tree, and a server in each send mode, for the tests of TLS."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from ..servers import serving
from ..streams import write_patterns
from .peers import SIZES, SLOW, Pair, client_context, make_pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..servers import Server


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("tls"), "one")


@pytest.fixture(scope="session")
def www(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patterns(tmp_path_factory.mktemp("www"), SIZES)


@pytest.fixture(scope="session", params=["auto", "plain"])
def server(www: Path, pair: Pair, request: pytest.FixtureRequest) -> Iterator[Server]:
    # However slow this machine is, handshakes are not to be too late here.
    options = {"send_mode": request.param, "head_ms_max": 600_000, **SLOW, **pair.options}
    with serving(www, engine="portable", **options) as running:
        yield running


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def context(pair: Pair, request: pytest.FixtureRequest) -> ssl.SSLContext:
    return client_context(pair, minimum_version=request.param, maximum_version=request.param)

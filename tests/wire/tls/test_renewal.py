"""What stays true of a server that speaks TLS: limits, log, reloads, other versions, errors at the start."""

from __future__ import annotations

import ssl
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import zchttpd

from ..client import eventually, request
from ..servers import serving
from ..streams import SLOW_BUFFER, Digest, pattern
from ..test_life import assert_one_line, refuse
from ..tree import MIB
from .peers import COMPLETED, SIZES, SLOW, TlsPeer, client_context, make_pair

if TYPE_CHECKING:
    from pathlib import Path

    from .peers import Pair


def test_limits_and_log_know_the_address(www: Path, pair: Pair, tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = {"connections_per_address": 2, "access_log": log, **pair.options}
    with serving(www, engine="portable", **options) as server, ExitStack() as stack:
        context = client_context(pair)

        def ask(source: str) -> int:
            peer = stack.enter_context(TlsPeer(server, context, source=source))
            return peer.ask(request("/page")).status

        assert [ask("127.0.0.3") for _ in range(3)] == [200, 200, 503]
        assert ask("127.0.0.4") == 200
        eventually("they are logged", lambda: log.read_text().count("\n") == 4)
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["127.0.0.3"] * 3 + ["127.0.0.4"]


def test_sessions_are_resumed_at_any_worker(www: Path, pair: Pair) -> None:
    context = client_context(pair)
    with serving(www, engine="portable", workers=2, **pair.options) as server:
        with TlsPeer(server, context) as peer:
            peer.ask(request("/page"))
            session = peer.tls.session
        for _ in range(8):
            with TlsPeer(server, context, session=session) as peer:
                assert peer.tls.session_reused
                assert peer.ask(request("/cached")).body == pattern(MIB)


@pytest.mark.parametrize("how", ["reload", "upgrade"])
def test_what_is_under_way_is_finished(www: Path, pair: Pair, how: str) -> None:
    context = client_context(pair)
    with (
        serving(www, engine="portable", **SLOW, **pair.options) as server,
        TlsPeer(server, context, receive_buffer=SLOW_BUFFER) as peer,
    ):
        peer.send(request("/large"))
        begun = peer.receive()
        if how == "upgrade":
            server.upgrade()
            with TlsPeer(server, context) as other:
                assert other.ask(request("/page")).body == pattern(5)
        else:
            assert server.reload().startswith("reloaded")
        peer.rest = begun
        digest = Digest()
        assert peer.reply(sink=digest).status == 200
        assert digest.length == SIZES["large"]


def test_another_certificate_from_a_reload_on(www: Path, tmp_path: Path) -> None:
    first, second = make_pair(tmp_path, "first"), make_pair(tmp_path, "second")
    served = make_pair(tmp_path, "served")

    def put(pair: Pair) -> None:
        served.key.write_bytes(pair.key.read_bytes())
        served.cert.write_bytes(pair.cert.read_bytes())

    def shown(pair: Pair) -> bool:
        try:
            with TlsPeer(server, client_context(pair)) as peer:
                return peer.certificate() == ssl.PEM_cert_to_DER_cert(pair.cert.read_text())
        except ssl.SSLCertVerificationError:
            return False

    put(first)
    with serving(www, engine="portable", complaint="not reloaded", workers=2, **served.options) as server:
        with TlsPeer(server, client_context(first)) as kept:
            kept.ask(request("/page"))
            put(second)
            assert server.reload().startswith("reloaded")
            eventually("the old workers accept no more", lambda: all(shown(second) for _ in range(5)))
            assert kept.ask(request("/page")).status == 200
        served.key.write_bytes(first.key.read_bytes())
        assert "is not the key of the certificate" in server.reload()
        assert shown(second)
        served.cert.write_text("no certificate\n")
        assert "cannot be used" in server.reload()
        served.cert.unlink()
        assert "cannot be read" in server.reload()
        assert shown(second)


def test_tls_does_not_begin_with_a_reload(www: Path, pair: Pair, tmp_path: Path) -> None:
    config = tmp_path / "options.toml"
    config.write_text("")
    with serving(www, engine="portable", config=config, complaint="not reloaded") as server:
        config.write_text(f'tls-cert = "{pair.cert}"\ntls-key = "{pair.key}"\n')
        assert "neither begins nor ends" in server.reload()
        assert server.ask(request("/page")).status == 200


@pytest.mark.parametrize("wrong", ["mismatch", "encrypted", "missing", "not a key"])
def test_what_is_wrong_with_the_files_is_told(www: Path, pair: Pair, tmp_path: Path, wrong: str) -> None:
    key = tmp_path / "other.key"
    if wrong == "encrypted":
        ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-passout", "pass:secret")
        pair = make_pair(tmp_path, "locked", *ec)
        key = pair.key
    elif wrong == "mismatch":
        key = make_pair(tmp_path, "other").key
    elif wrong == "not a key":
        key.write_text("nonsense\n")
    told = {"mismatch": "is not the key of", "encrypted": "is encrypted", "missing": "cannot be read by uid"}
    said = refuse(str(www), "--port", "0", "--tls-cert", str(pair.cert), "--tls-key", str(key))
    assert_one_line(said, told.get(wrong, "cannot be used"))


def test_a_key_that_everybody_can_read_is_told(www: Path, tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "open")
    pair.key.chmod(0o644)
    with serving(www, engine="portable", **pair.options) as server:
        assert server.says("everybody on this machine can read the key")


def test_engine_auto_says_that_it_takes_the_portable_one(www: Path, pair: Pair) -> None:
    with serving(www, engine="auto", **pair.options) as server:
        assert server.says(r"portable \(")
        assert server.says("without io_uring, as it has no TLS")


def test_a_key_that_would_be_served_stops_the_start(www: Path, pair: Pair, tmp_path: Path) -> None:
    key = tmp_path / "site.key"
    key.write_bytes(pair.key.read_bytes())
    said = refuse(str(tmp_path), "--port", "0", "--tls-cert", str(pair.cert), "--tls-key", str(key))
    assert_one_line(said, "is served to everybody", str(key))


def test_check_reads_the_certificate(www: Path, pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    said = refuse(str(www), "--check", "--tls-cert", str(tmp_path / "empty"), "--tls-key", str(pair.key))
    assert_one_line(said, "cannot be used")
    code, errors, shown = refuse(
        str(www), "--check", "--tls-cert", str(pair.cert), "--tls-key", str(pair.key)
    )
    assert (code, errors) == (0, [])
    assert f'tls-cert = "{pair.cert}"' in shown


@pytest.mark.parametrize("in_process", [False, True])
def test_from_python(www: Path, pair: Pair, in_process: bool) -> None:
    with zchttpd.serve(www, in_process=in_process, tls_cert=pair.cert, tls_key=pair.key) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with urllib.request.urlopen(f"{server.url}/cached", context=client_context(pair)) as answer:
            assert answer.read() == pattern(MIB)
        assert any(line.startswith("TLS:") for line in server.report)
        assert server.metrics()[f"zchttpd_{COMPLETED}"] == 1

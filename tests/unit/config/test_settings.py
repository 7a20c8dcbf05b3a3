"""The option table and what is made of it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.config import options
from zchttpd.config.load import load, read, without_effect
from zchttpd.config.names import ENCODINGS, FEATURES
from zchttpd.config.options import (
    SettingsError,
    flag_of,
    format_size,
    nearest,
    parse_names,
    parse_size,
    split_address,
    variable_of,
)
from zchttpd.config.settings import OPTIONS, Settings, default_text
from zchttpd.process.checks import check_root, notes

ROOT = {"root": "www"}


def test_every_field_has_an_option() -> None:
    names = [field.name for field in dataclasses.fields(Settings)]
    # Those of a file alone: no text on a command line can say them.
    assert list(OPTIONS) == [name for name in names if name != "sites"]
    for name, option in OPTIONS.items():
        assert option.help, name
        assert option.choices or option.metavar or option.switch, name


def test_defaults_are_the_documented_ones() -> None:
    settings = load(ROOT, {})
    assert settings == Settings(root=Path("www"))
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8080, 1)
    assert (settings.send_mode, settings.engine, settings.admin) == ("auto", "auto", "")


@pytest.mark.parametrize("name", [name for name in OPTIONS if default_text(name)])
def test_a_default_reads_back_as_itself(name: str) -> None:
    assert getattr(load({**ROOT, name: default_text(name)}, {}), name) == getattr(load(ROOT, {}), name)


def test_the_command_line_wins_over_the_environment() -> None:
    environment = {"ZCHTTPD_PORT": "1", "ZCHTTPD_MEMORY": "1G", "ZCHTTPD_SEND_MODE": "plain"}
    settings = load({**ROOT, "port": "2"}, environment)
    assert (settings.port, settings.memory, settings.send_mode) == (2, 2**30, "plain")


def test_a_value_that_the_command_line_replaces_is_not_even_read() -> None:
    assert load({**ROOT, "port": "2"}, {"ZCHTTPD_PORT": "tcp://10.0.0.1:8080"}).port == 2


@pytest.mark.parametrize(
    ("name", "text", "cause", "fix"),
    [
        ("port", "70000", "70000 is too large", "Type 65535 or less"),
        ("port", "http", "'http' is not a whole number", ""),
        ("port", "-1", "'-1' is not a whole number", ""),
        ("memory", "1K", "1K is too small", "Type 64K or more"),
        ("memory", "3Q", "'3Q' is not a size", "such as 64K"),
        ("send_mode", "zerocpy", "'zerocpy' is not a choice", "Did you mean zerocopy?"),
        ("engine", "x", "'x' is not a choice", "Type one of: auto, uring, portable"),
        ("without", "sendzc", "'sendzc' is not a feature", "Did you mean send_zc?"),
        ("admin_name", "graphs.example,web1:9100", "'web1:9100' is not a name", "without a port"),
        ("admin_name", "*", "'*' is not a name", "Type such as metrics.example"),
        ("window_size", "5000", "5000 is not a multiple of 4K", "Type such as 512K"),
        ("recv_buffers", "500", "500 is not a power of two", "Type such as 512"),
        ("stream_memory", "1M", "1M is less than the 4 windows of 512K", "Type at least 2M"),
        ("admin", "9100", "'9100' is not an address", "Type HOST:PORT"),
        ("admin", "::1:9100", "is ambiguous", "[::1]:9100"),
        ("admin", "127.0.0.1:8080", "is where files are served", "Type another port"),
        ("host", " ", "is empty", "Type 127.0.0.1"),
        ("host", "localhost:80", "has a port in it", "Type --host localhost --port 80"),
        ("host", "[::1]:80", "has a port in it", "Type --host [::1] --port 80"),
        ("host", ":80", "has a port in it", "Type --port 80"),
        ("host", "http://a.example:80/", "has a port in it", "Type --host a.example --port 80"),
        ("host", "http://localhost", "is not an address or a name", "Type such as --host localhost"),
        (
            "workers",
            "0",
            "'0' is not a number of workers",
            "Type auto, which is one on each CPU, or 1 or more",
        ),
        ("workers", "-1", "'-1' is not a number of workers", "Type auto"),
        ("workers", "2000", "2000 is too large", "Type 1024 or less"),
        ("compress", "gzip,zst", "'zst' is not an encoding", "Did you mean zstd?"),
        ("compress", "deflate", "'deflate' is not an encoding", "Type one of: auto, br, zstd, gzip"),
        ("compress_size_max", "65M", "65M is too large", "Type 64M or less"),
        ("compress_memory", "4M", "4M may be too small for one file", "Type at least 8M"),
        ("log_level", "WARN", "'WARN' is not a choice", "Did you mean warning?"),
        ("compress_threads", "0", "0 is too small", "Type 1 or more"),
    ],
)
@pytest.mark.parametrize("source", ["command line", "environment"])
def test_a_bad_value_gives_one_line_with_its_source_the_cause_and_the_cure(
    source: str, name: str, text: str, cause: str, fix: str
) -> None:
    typed, environment = {**ROOT, name: text}, {}
    if source == "environment":
        typed, environment = ROOT, {variable_of(name): text}
    with pytest.raises(SettingsError) as caught:
        load(typed, environment)
    problem = caught.value.problem
    assert caught.value.name == name
    assert problem.startswith(f"{flag_of(name) if source == 'command line' else variable_of(name)}: ")
    assert cause in problem
    assert fix in problem
    assert "\n" not in problem


def test_a_name_of_the_admin_listener_may_be_an_address() -> None:
    names = "metrics.example,WEB1,2001:db8::1,192.0.2.7,::ffff:192.0.2.7"
    assert load({**ROOT, "admin_name": names}, {}).admin_name == tuple(names.split(","))


@pytest.mark.parametrize("name", ["host", "port", "root", "memory", "workers", "access_log"])
def test_an_empty_text_is_refused_where_it_was_typed(name: str) -> None:
    with pytest.raises(SettingsError, match=r"Type ") as caught:
        load({**ROOT, name: ""}, {})
    assert caught.value.problem.startswith(f"{flag_of(name)}: ")


@pytest.mark.parametrize("name", OPTIONS)
def test_an_empty_variable_counts_as_one_that_is_not_set(name: str, tmp_path: Path) -> None:
    environment = {variable_of(name): ""}
    if name != "root":
        assert load(ROOT, environment) == load(ROOT, {})
    file = tmp_path / "zchttpd.toml"
    file.write_text("root = 'a'\nlisting = true\nport = 1\n", encoding="utf-8")
    assert load({"config": str(file)}, environment) == load({"config": str(file)}, {})


@pytest.mark.parametrize(
    ("typed", "cause", "fix"),
    [
        ({"host": "0.0.0.0", "admin": "127.0.0.1:8080"}, "is where files are served", "Type another port"),
        ({"host": "::", "admin": "127.0.0.1:8080"}, "is where files are served", "Type another port"),
        ({"host": "localhost", "admin": ":8080"}, "is where files are served", "Type another port"),
        ({"host": "127.0.0.1", "admin": "0.0.0.0:8080"}, "is where files are served", "Type another port"),
        (
            {"compress": "gzip", "compress_size_min": "9M"},
            "9M is more than --compress-size-max 8M",
            "Type a smaller one",
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(typed: dict[str, str], cause: str, fix: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({**ROOT, **typed}, {})
    assert cause in caught.value.problem
    assert fix in caught.value.problem


@pytest.mark.parametrize(
    "typed",
    [
        {"engine": "portable", "send_mode": "zerocopy"},
        {"engine": "auto", "send_mode": "zerocopy"},
        {"host": "127.0.0.2", "admin": "127.0.0.1:8080"},
        {"unix": "/run/a.sock", "admin": "127.0.0.1:8080"},
        {"port": "0", "admin": "127.0.0.1:0"},
        {"compress_size_min": "9M"},
    ],
)
def test_options_that_go_together_are_not_refused(typed: dict[str, str]) -> None:
    load({**ROOT, **typed}, {})


@pytest.mark.parametrize(
    ("typed", "environment", "told"),
    [
        ({"unix": "/run/a.sock", "port": "80"}, {"ZCHTTPD_HOST": "::"}, ["ZCHTTPD_HOST, --port. It listens"]),
        ({"unix": "/run/a.sock"}, {"ZCHTTPD_HOST": ""}, []),
        ({"compress_memory": "9M", "compress_threads": "2"}, {}, ["--compress-memory, --compress-threads"]),
        ({"compress": "gzip", "compress_memory": "9M"}, {}, []),
        ({"zc_size_min": "9M", "send_mode": "plain"}, {}, ["--zc-size-min. With --send-mode plain"]),
        ({"zc_size_min": "9M"}, {}, []),
        (
            {"engine": "portable", "recv_buffers": "8", "memory": "9M", "without": "send_zc"},
            {},
            ["--without. It is for io_uring"],
        ),
        ({"access_log_format": "json"}, {}, ["--access-log-format. Type --access-log"]),
        ({"access_log_format": "json", "access_log": "-"}, {}, []),
        ({"forwarded_from": "unix"}, {}, ["--forwarded-from. Type --access-log, a limit"]),
        ({"forwarded_from": "unix", "access_log": "-"}, {}, []),
        ({"forwarded_from": "10.0.0.1", "connections_per_address": "9"}, {}, []),
        ({"forwarded_from": "10.0.0.1", "requests_per_second": "9"}, {}, []),
        ({"forwarded_from": "10.0.0.1", "bytes_per_second": "9M"}, {}, []),
        ({"forwarded_field": "forwarded"}, {}, ["--forwarded-field. Type --forwarded-from"]),
        ({"unix": "/run/a.sock", "bytes_per_second": "9M"}, {}, ["--bytes-per-second. Who comes by a unix"]),
        ({"unix": "/run/a.sock", "bytes_per_second": "9M", "forwarded_from": "unix"}, {}, []),
        ({"frozen": "1", "send_mode": "plain"}, {}, ["--frozen. With --send-mode plain"]),
        ({"frozen": "1"}, {}, []),
    ],
)
def test_an_option_that_has_no_effect_is_told_and_not_refused(
    typed: dict[str, str], environment: dict[str, str], told: list[str]
) -> None:
    given = read({**ROOT, **typed}, environment)
    lines = without_effect(given.settings, given.sources)
    assert len(lines) == len(told)
    for line, part in zip(lines, told, strict=True):
        assert line.startswith("without effect: ")
        assert part in line


def test_who_is_believed_matters_to_the_log_and_to_redirects_of_a_host(tmp_path: Path) -> None:
    lines = tmp_path / "_redirects"
    lines.write_text("/a /b\n")
    typed = {**ROOT, "forwarded_from": "10.0.0.1", "redirects": str(lines)}

    def told(**more: str) -> list[str]:
        given = read({**typed, **more}, {})
        return without_effect(given.settings, given.sources)

    [line] = told()
    assert line.startswith(
        "without effect: --forwarded-from. Type --access-log, a limit of an address, or --redirects"
    )
    assert told(access_log="-") == []
    lines.write_text("/a /b\nhttp://*/* https://:host/:splat 301!\n")
    assert told() == []


def test_pages_that_an_option_needs_and_the_root_lacks_are_told(tmp_path: Path) -> None:
    def lines(**typed: str) -> list[str]:
        return notes(load({"root": str(tmp_path), **typed}, {}))

    assert lines(listing="on", access_log=f"{tmp_path}/../a.log") == []
    assert lines(listing="on", access_log=f"{tmp_path}/.a.log") == []
    assert "everybody can read" in lines(listing="on", access_log=f"{tmp_path}/a.log")[0]
    assert lines(spa="on") == [f"no index.html in {tmp_path}/ yet: until then --spa answers 404"]
    assert lines(listing="on", error_pages="on")[0].startswith("none of 404.html, 403.html, 50x.html in ")
    (tmp_path / "index.html").touch()
    (tmp_path / "404.html").touch()
    assert lines(spa="on", error_pages="on") == []


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("prot", "port"),
        ("porrt", "port"),
        ("PORT", "port"),
        ("prt", "port"),
        ("rot", "root"),
        ("hots", "host"),
        ("send_mode", "send-mode"),
        ("send", "send-mode"),
        ("x", ""),
        ("gravity", ""),
        ("", ""),
    ],
)
def test_slips_of_the_fingers(word: str, meant: str) -> None:
    assert nearest(word, ["root", "host", "port", "send-mode"]) == meant
    assert nearest(word, []) == ""


def test_an_encoding_that_is_not_installed_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODINGS, "br", "no_such_module")
    with pytest.raises(SettingsError, match=r"br needs another package\. Type: pip install no_such_module"):
        load({**ROOT, "compress": "gzip,br"}, {})
    assert load({**ROOT, "compress": "auto,gzip"}, {}).compress == ("auto", "gzip")


def test_a_root_must_be_named() -> None:
    with pytest.raises(SettingsError, match=r"Type: zchttpd --root DIR"):
        load({}, {})


def test_the_port_that_kubernetes_sets_is_explained() -> None:
    with pytest.raises(SettingsError, match="enableServiceLinks"):
        load(ROOT, {"ZCHTTPD_PORT": "tcp://10.0.0.1:8080"})


def test_settings_made_in_python_are_checked_too() -> None:
    with pytest.raises(SettingsError, match="port: 65536 is too large"):
        Settings(root=Path("www"), port=65536)


def test_a_root_is_checked(tmp_path: Path) -> None:
    check_root(tmp_path)
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(SettingsError, match="is not a directory"):
        check_root(file)
    with pytest.raises(SettingsError, match="does not exist"):
        check_root(tmp_path / "missing")


def test_a_root_that_may_not_be_entered_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # root may enter everything, so permission bits alone would not be seen.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SettingsError, match=r"may not be entered by this user\. Type: chmod"):
        check_root(tmp_path)


@given(st.integers(min_value=0, max_value=2**50))
def test_a_size_reads_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("64K", 65536), ("64k", 65536), ("1MiB", 2**20), ("1 GB", 2**30), ("7b", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "-1", "+1", "1.5M", "1T", "1 0", "0x10", "٣", "1_000"])
def test_not_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:9100", ("::1", 9100)),
        (":9100", ("127.0.0.1", 9100)),
        ("h:1", ("h", 1)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "h", "h:", "h:x", "h:65536", "h:-1", "1:2:3"])
def test_not_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"Type (HOST:PORT|brackets)"):
        split_address(text)


def test_rungs_to_do_without_are_a_list() -> None:
    assert parse_names(" send_zc,,buffer_ring,send_zc ") == ("send_zc", "buffer_ring")
    assert load({**ROOT, "without": ",".join(FEATURES)}, {}).without == tuple(FEATURES)


def test_workers_auto_is_one_on_each_usable_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "usable_cpus", lambda: 7)
    assert load({**ROOT, "workers": "auto"}, {}).worker_count == 7
    assert load({**ROOT, "workers": "3"}, {}).worker_count == 3


@pytest.mark.parametrize(
    ("cpu_max", "cpus"),
    [("max 100000\n", 8), ("150000 100000\n", 1), ("400000 100000\n", 4), ("50000 100000\n", 1)],
)
def test_usable_cpus_keep_to_the_quota(monkeypatch: pytest.MonkeyPatch, cpu_max: str, cpus: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: cpu_max)
    assert options.usable_cpus() == cpus

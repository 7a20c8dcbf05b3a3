"""The command as it is typed: help, errors, doctor."""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import zchttpd
from zchttpd import cli
from zchttpd.config.names import ENCODINGS, FEATURES
from zchttpd.config.options import Group, flag_of
from zchttpd.config.settings import OPTIONS, Settings
from zchttpd.engine.limits import raise_limits
from zchttpd.process import doctor, supervisor
from zchttpd.process.findings import Finding, State
from zchttpd.telemetry import log


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        code = cli.main(list(arguments))
    except SystemExit as left:
        code = int(left.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_help_names_every_option_and_group(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--help")
    assert (code, err) == (0, "")
    for name in OPTIONS:
        assert f"  {flag_of(name)} " in out
    positions = [out.index(f"\n{group.value}:\n") for group in Group]
    assert positions == sorted(positions)
    assert max(map(len, out.splitlines())) <= 110


def test_version_is_the_packaged_one(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert run(capsys, "--version") == (0, f"zchttpd {project['project']['version']}\n", "")
    assert zchttpd.__version__ == project["project"]["version"]


def modules_after(text: str) -> set[str]:
    """What a Python that has run this has imported."""
    command = [sys.executable, "-c", f"{text}\nimport sys; print(*sys.modules)"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(printed.splitlines()[-1].split())


def test_version_and_help_import_nothing_that_serves() -> None:
    """What is answered without a server costs little more than Python itself."""
    call = "import zchttpd.cli\ntry: zchttpd.cli.main(['{}'])\nexcept SystemExit: pass"
    version, helped = (modules_after(call.format(flag)) for flag in ("--version", "--help"))
    assert "zchttpd.config.settings" in version & helped
    heavy = {
        "asyncio",
        "ctypes",
        "h11",
        "http",
        "json",
        "prometheus_client",
        "socket",
        "ssl",
        "subprocess",
        "uvloop",
    }
    heavy |= {f"zchttpd.{part}" for part in ("_core", "api", "engine", "files", "handler", "http", "process")}
    assert not (version | helped) - modules_after("") & heavy


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["no directory to serve", "--root DIR"]),
        (["--root", "/nonexistent"], ["'/nonexistent' does not exist"]),
        (["/", "--links-into", "/nonexistent"], ["'/nonexistent' does not exist. Type --links-into"]),
        (["/", "--links-into", "/etc/passwd"], ["'/etc/passwd' is not a directory"]),
        (["--root", ".", "--port", "x"], ["--port", "'x'"]),
        (["--rot", "."], ["--rot", "Did you mean --root?", "--help"]),
        (["--root"], ["--root needs a value: DIR. Type such as --root www/", "--help"]),
        (["www", "--prot", "80"], ["unrecognized arguments: --prot 80", "Did you mean --port?"]),
        (["www", "--prot=80"], ["Did you mean --port?"]),
        (["doctor", "--prot=80"], ["Did you mean --port?"]),
        (["www", "--bind", "::"], ["--bind", "Did you mean --host?"]),
        (["www", "-p", "80"], ["-p", "Did you mean --port?"]),
        (["www", "--qwertzuiop"], ["--qwertzuiop", "--help"]),
        (["www", "--listing=on"], ["--listing takes no value. Type --listing alone"]),
        (["www", "--compress"], ["--compress needs a value", "--compress auto"]),
        (["www", "--send-mode"], ["--send-mode needs a value: auto|zerocopy|plain", "--send-mode auto"]),
        (["www", "--header", "X-A: b"], ["--header needs 2 values", "--header '*' 'X-Frame-Options: DENY'"]),
        (["www", "--header", "*", "X A: b"], ["'X A: b' is not 'Name: value'", "'X-Frame-Options: DENY'"]),
        (["www", "--header", "X-A: b", "*"], ["Type --header '*' 'X-A: b'"]),
        (["www", "--immutable"], ["--immutable needs a value: PATTERN", "'/assets/*'"]),
        (["www", "--version=1"], ["--version takes no value"]),
        (["serve", "www"], ["One directory is served, and 'serve' is one already"]),
        (["dcotor"], ["'dcotor' does not exist", "Did you mean zchttpd doctor?"]),
        (["8080"], ["'8080' does not exist", "Type --port 8080 for a port"]),
        (["help"], ["'help' does not exist", "zchttpd --help"]),
        (["~/www"], ["'~/www' does not exist", "Type the path that ~ stands for"]),
        ([__file__], ["is not a directory", f"the one that it is in: {Path(__file__).parent}"]),
        (["www", "--user", "nobdy"], ["there is no user 'nobdy'", "Did you mean nobody?"]),
        (["www dir"], ["'www dir' does not exist"]),
        (["www", "--root", "a b"], ["two directories: 'www' and --root 'a b'"]),
        (["www", "more"], ["unrecognized arguments: more"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], parts: list[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("zchttpd: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err


def test_abbreviated_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    # An option added later must not change the meaning of a script.
    code, _, err = run(capsys, "--root", ".", "--send", "plain")
    assert code == 2
    assert "--send" in err


def test_what_was_typed_reaches_the_supervisor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Settings] = []

    def run_instead(settings: Settings, notes: list[str], **_: object) -> int:
        seen.append(settings)
        return 17

    monkeypatch.setattr(supervisor, "run", run_instead)
    monkeypatch.setenv("ZCHTTPD_PORT", "0")
    without = ["--without", "send_zc", "--without", "buffer_ring"]
    assert cli.main(["--root", str(tmp_path), "--window-size", "64K", *without]) == 17
    assert seen == [Settings(root=tmp_path, port=0, window_size=65536, without=("send_zc", "buffer_ring"))]


def test_a_directory_is_a_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr(supervisor, "run", lambda settings, notes, **_: seen.append(settings) or 0)
    monkeypatch.setenv("ZCHTTPD_ROOT", "/nowhere/at/all")
    assert cli.main([str(tmp_path), "--port", "0"]) == 0
    assert cli.main(["--port", "0", str(tmp_path)]) == 0
    assert seen == 2 * [Settings(root=tmp_path, port=0)]


def ring(monkeypatch: pytest.MonkeyPatch, at_once: bool | None = True, **found: object) -> None:
    stub = ModuleType("zchttpd._core.ring_setup")
    stub.probe = lambda: found  # type: ignore[attr-defined]
    stub.gives_back_at_once = lambda: at_once  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "zchttpd._core.ring_setup", stub)


def findings() -> dict[str, Finding]:
    return {finding.subject: finding for finding in doctor.examine(Settings(root=Path()))}


def test_doctor_finds_every_rung_present(monkeypatch: pytest.MonkeyPatch) -> None:
    ring(monkeypatch, error="", **dict.fromkeys(FEATURES, True))
    found = findings()
    assert found["io_uring"].state is State.OK
    assert all(found[name].state is State.OK for name in FEATURES)


@pytest.mark.parametrize("name", FEATURES)
def test_doctor_names_a_missing_rung_its_cost_and_its_cure(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ring(monkeypatch, error="", **{**dict.fromkeys(FEATURES, True), name: False})
    found = findings()
    assert found[name] == Finding(
        name, State.MISSING, FEATURES[name].lost, f"Linux {FEATURES[name].since} or later"
    )
    assert [each for each in FEATURES if found[each].state is not State.OK] == [name]


@pytest.mark.parametrize(
    ("error", "disabled", "user", "cause", "fix"),
    [
        ("ENOSYS", "", 0, "has no io_uring", "Linux 6.0"),
        ("EPERM", "2", 0, "kernel.io_uring_disabled is 2", "sysctl -w kernel.io_uring_disabled=0"),
        ("EPERM", "1", 1000, "kernel.io_uring_disabled is 1", "io_uring_group"),
        ("EPERM", "1", 0, "a sandbox refuses io_uring", "seccomp"),
        ("EPERM", "0", 1000, "a sandbox refuses io_uring", "seccomp"),
        ("ENOMEM", "0", 1000, "no memory left to lock", "ulimit -l"),
        ("EINVAL", "0", 0, "failed with EINVAL", "zchttpd doctor"),
    ],
)
def test_a_refused_ring_is_explained(
    monkeypatch: pytest.MonkeyPatch, error: str, disabled: str, user: int, cause: str, fix: str
) -> None:
    monkeypatch.setattr(doctor, "read", lambda path: disabled)
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert cause in doctor.refusal(error)[0]
    assert fix in doctor.refusal(error)[1]
    ring(monkeypatch, error=error)
    assert findings()["io_uring"].state is State.MISSING
    assert not {*FEATURES, "registered memory"} & set(findings())


def test_doctor_works_where_the_ring_was_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zchttpd._core.ring_setup", None)
    assert findings()["io_uring"].state is State.MISSING
    assert findings()["io_uring"].fix


@pytest.mark.parametrize("short", [True, False])
def test_doctor_prints_and_its_exit_code_tells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], short: bool
) -> None:
    told = [
        Finding("kernel", State.OK, "Linux"),
        Finding("uvloop", State.MISSING, "slow", "pip install uvloop"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda settings: told if short else told[:1])
    code, out, err = run(capsys, "doctor")
    assert (code, err) == (int(short), "")
    assert ("fix: pip install uvloop" in out) == short
    assert ("All is well." in out) != short


@pytest.mark.parametrize("asked", [True, False])
def test_an_encoding_that_cannot_be_made_is_a_fault_only_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    settings = Settings(root=Path(), compress=("auto",) if asked else ())

    def found() -> Finding:
        return next(each for each in doctor.examine(settings) if each.subject == "compression")

    assert found() == Finding("compression", State.OK, "--compress can make br, zstd, gzip")
    monkeypatch.setitem(ENCODINGS, "br", "no_such_module")
    without = found()
    assert without.state is (State.MISSING if asked else State.OK)
    assert "can make zstd, gzip" in without.text
    assert "pip install no_such_module" in (without.fix if asked else without.text)


@pytest.mark.parametrize(
    ("user", "capable", "fix"),
    [
        (0, True, "ulimit -l unlimited"),
        (0, False, "start the container with --ulimit memlock=-1"),
        (1000, False, "sudo prlimit --pid $$ --memlock=unlimited, in the shell that starts it"),
    ],
)
def test_low_locked_memory_is_explained(
    monkeypatch: pytest.MonkeyPatch, user: int, capable: bool, fix: str
) -> None:
    """ulimit raises a hard limit for those alone who may; the soft one is raised by the server itself."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(doctor, "_capable", lambda which: capable and which == doctor.CAP_SYS_RESOURCE)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64 * 1024, 8 * doctor.MIB))
    low = doctor.locked_memory(320 * doctor.MIB)
    assert low.state is State.LOW
    assert low.fix.startswith(fix)
    assert "8 MiB" in low.text
    assert "320 MiB" in low.text
    assert doctor.locked_memory(8 * doctor.MIB).state is State.OK
    monkeypatch.setattr(doctor, "_capable", lambda which: True)
    assert doctor.locked_memory(320 * doctor.MIB).state is State.OK


@pytest.mark.parametrize(
    ("limit", "most", "fix"),
    [
        (4096, "1048576", "--connections-max 3584, or ulimit -n 65536"),
        (100, "1048576", "a lower --connections-max, or ulimit -n 65536"),
        (4096, "10000", "--connections-max 3584, or sysctl -w fs.nr_open=65536 and then ulimit -n 65536"),
    ],
)
def test_few_open_files_are_explained(
    monkeypatch: pytest.MonkeyPatch, limit: int, most: str, fix: str
) -> None:
    monkeypatch.setattr(doctor, "_capable", lambda which: True)
    monkeypatch.setattr(doctor, "read", lambda path: most)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, limit))
    assert doctor.open_files(65536).fix == fix
    assert doctor.open_files(limit).state is State.OK


@pytest.mark.parametrize(
    ("uid_map", "cap_eff", "may"),
    [
        ("         0          0 4294967295", "000001ffffffffff", True),
        ("         0          0 4294967295", "0000000000004000", True),
        ("         0          0 4294967295", "0000000000000000", False),
        ("         0     100000      65536", "000001ffffffffff", False),
    ],
)
def test_the_capability_counts_only_in_the_first_user_namespace(
    monkeypatch: pytest.MonkeyPatch, uid_map: str, cap_eff: str, may: bool
) -> None:
    pages = {"/proc/self/uid_map": uid_map, "/proc/self/status": f"Name:\tx\nCapEff:\t{cap_eff}\nSeccomp:\t0"}
    monkeypatch.setattr(doctor, "read", lambda path: pages[str(path)])
    assert doctor._capable(doctor.CAP_IPC_LOCK) is may


@pytest.mark.parametrize(
    ("before", "files", "after"),
    [
        ((10, 100), 50, (50, 100)),
        ((10, 100), 500, (100, 100)),
        ((80, 100), 50, (80, 100)),
        ((10, -1), 500, (500, -1)),
    ],
)
def test_soft_limits_are_raised_as_far_as_needed(
    monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], files: int, after: tuple[int, int]
) -> None:
    limits = {resource.RLIMIT_NOFILE: before, resource.RLIMIT_MEMLOCK: (1, 2)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    raise_limits(files)
    assert limits == {resource.RLIMIT_NOFILE: after, resource.RLIMIT_MEMLOCK: (2, 2)}


def test_a_log_line_is_one_line_of_harmless_text(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("info", "worker 7")
    try:
        log.LOGGER.warning("head %s", "a\r\nb\x1b[2J\u2028\x9b\ud800 \u00e9")
        log.LOGGER.info("a notice")
        log.LOGGER.debug("nothing")
    finally:
        log.LOGGER.handlers.clear()
        log.LOGGER.setLevel(logging.NOTSET)
        log.LOGGER.propagate = True
    out, err = capsys.readouterr()
    assert err.endswith("Z WARNING worker 7: head a\\r\\nb\\x1b[2J\\u2028\\x9b\\ud800 \u00e9\n")
    assert out.endswith("Z INFO worker 7: a notice\n")
    assert (out + err).count("\n") == 2


def test_the_doctor_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told = [
        Finding("kernel", State.OK, "Linux"),
        Finding("uvloop", State.MISSING, "slow", "pip install uvloop"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda settings: told)
    code, out, err = run(capsys, "doctor", "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert (found["version"], found["well"]) == (zchttpd.__version__, False)
    assert found["findings"] == [
        {"subject": "kernel", "state": "ok", "text": "Linux", "fix": ""},
        {"subject": "uvloop", "state": "missing", "text": "slow", "fix": "pip install uvloop"},
    ]


@pytest.mark.parametrize("flag", ["--json", "--seccomp", "--path"])
def test_what_only_the_doctor_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    arguments = [flag, "192.0.2.7"] if flag == "--path" else [flag]
    code, out, err = run(capsys, str(tmp_path), *arguments)
    assert (code, out) == (2, "")
    assert f"unrecognized arguments: {flag}" in err
    assert ("Did you mean --root?" in err) == (flag == "--path")


def test_copying_is_measured() -> None:
    found = findings()["copying"]
    assert found.state is State.OK
    seconds = float(found.text.partition(" ")[0])
    assert 0.001 < seconds < 100


@pytest.mark.parametrize(("workers", "state"), [(1, State.OK), (2, State.OK), (3, State.LOW)])
def test_more_workers_than_processors(monkeypatch: pytest.MonkeyPatch, workers: int, state: State) -> None:
    monkeypatch.setattr(doctor, "usable_cpus", lambda: 2)
    found = {each.subject: each for each in doctor.examine(Settings(root=Path(), workers=workers))}
    assert found["processors"].state is state
    assert ("--workers auto" in found["processors"].fix) == (state is State.LOW)


def test_top_says_what_it_lacks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.delitem(sys.modules, "zchttpd.telemetry.top", raising=False)
    code, out, err = run(capsys, "top", "--once")
    assert (code, out) == (cli.EXIT_USAGE, "")
    assert "top needs another package. Type: pip install rich" in err


@pytest.mark.parametrize("interval", ["0", "0.05", "1e9", "nan", "x"])
def test_top_asks_neither_too_often_nor_never(capsys: pytest.CaptureFixture[str], interval: str) -> None:
    code, _, err = run(capsys, "top", "--interval", interval)
    assert code == cli.EXIT_USAGE
    assert "--interval" in err

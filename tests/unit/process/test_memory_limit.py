"""How much memory there is, as made-up machines tell it, and what becomes of the options of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from zchttpd.config.load import read
from zchttpd.config.options import MIB
from zchttpd.config.settings import Settings
from zchttpd.process import doctor
from zchttpd.process.findings import State
from zchttpd.process.memory_limit import Limit, OutOfMemory, fit, memory_limit, most

V2 = "36 25 0:31 {part} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "36 25 0:31 {part} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
V1_CPU = "35 25 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"
UNLIMITED_V1 = 9223372036854771712


def machine(top: Path, mounts: list[str], groups: str, files: dict[str, object]) -> Path:
    pages = {
        "proc/meminfo": "MemTotal:       8388608 kB\nMemFree: 1 kB\n",
        "proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/root rw\n" + "\n".join(mounts),
        "proc/self/cgroup": groups,
        **files,
    }
    for name, text in pages.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")
    return top


@pytest.mark.parametrize(
    ("mounts", "groups", "files", "size", "source"),
    [
        ([], "", {}, 8192, "the memory of this machine"),
        ([V2.format(part="/")], "0::/", {}, 8192, "the memory of this machine"),
        (
            [V2.format(part="/")],
            "0::/a/b",
            {"sys/fs/cgroup/a/b/memory.max": 128 * MIB, "sys/fs/cgroup/a/memory.max": "max"},
            128,
            "memory.max of /sys/fs/cgroup/a/b",
        ),
        (
            [V2.format(part="/")],
            "0::/a/b",
            {"sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": 64 * MIB},
            64,
            "memory.max of /sys/fs/cgroup/a",
        ),
        (
            [V2.format(part="/")],
            "0::/a",
            {"sys/fs/cgroup/a/memory.max": 64 * MIB, "sys/fs/cgroup/a/memory.high": 32 * MIB},
            32,
            "memory.high of /sys/fs/cgroup/a",
        ),
        # A container with a namespace, and one without: what is mounted is its own group.
        (
            [V2.format(part="/")],
            "0::/",
            {"sys/fs/cgroup/memory.max": 64 * MIB},
            64,
            "memory.max of /sys/fs/cgroup",
        ),
        (
            [V2.format(part="/docker/1")],
            "0::/docker/1",
            {"sys/fs/cgroup/memory.max": 64 * MIB},
            64,
            "memory.max of /sys/fs/cgroup",
        ),
        (
            [V2.format(part="/")],
            "0::/../other",
            {"sys/fs/cgroup/memory.max": 64 * MIB},
            64,
            "memory.max of /sys/fs/cgroup",
        ),
        (
            [V1_CPU, V1.format(part="/")],
            "5:cpu:/c\n4:memory:/a\n0::/",
            {"sys/fs/cgroup/memory/a/memory.limit_in_bytes": 64 * MIB},
            64,
            "memory.limit_in_bytes of /sys/fs/cgroup/memory/a",
        ),
        (
            [V1.format(part="/")],
            "4:memory:/a",
            {"sys/fs/cgroup/memory/a/memory.limit_in_bytes": UNLIMITED_V1},
            8192,
            "the memory of this machine",
        ),
        (
            [V2.format(part="/").replace("/sys/fs/cgroup", "/sys/fs/c\\040g")],
            "0::/a",
            {"sys/fs/c g/a/memory.max": 64 * MIB},
            64,
            "memory.max of /sys/fs/c g/a",
        ),
    ],
)
def test_the_lowest_limit_counts(
    tmp_path: Path, mounts: list[str], groups: str, files: dict[str, object], size: int, source: str
) -> None:
    assert memory_limit(machine(tmp_path, mounts, groups, files)) == Limit(size * MIB, source)


@pytest.mark.parametrize(
    ("mounts", "groups", "file"),
    [
        ([V2.format(part="/")], "0::/a", "sys/fs/cgroup/a/memory.events"),
        ([V1.format(part="/")], "4:memory:/a", "sys/fs/cgroup/memory/a/memory.oom_control"),
        ([], "", "proc/vmstat"),
    ],
)
def test_kills_for_want_of_memory_are_counted(
    tmp_path: Path, mounts: list[str], groups: str, file: str
) -> None:
    machine(tmp_path, mounts, groups, {file: "oom 7\noom_kill 1\noom_group_kill 0"})
    watched = OutOfMemory(tmp_path)
    assert not watched.risen()
    (tmp_path / file).write_text("oom 7\noom_kill 3\n")
    assert watched.risen()
    assert not watched.risen()


def fitted(mib: int, **typed: str) -> tuple[Settings, list[str]]:
    return fit(read({"root": "www", **typed}, {}), Limit(mib * MIB, "memory.max of /a"))


@pytest.mark.parametrize("typed", [{}, {"workers": "4"}, {"compress": "gzip"}, {"engine": "portable"}])
def test_where_memory_is_plenty_the_defaults_stay(typed: dict[str, str]) -> None:
    settings, lines = fitted(8192, **typed)
    assert settings == read({"root": "www", **typed}, {}).settings
    assert lines == []


@pytest.mark.parametrize("mib", [48, 64, 128, 256, 512])
@pytest.mark.parametrize(
    "typed",
    [
        {},
        {"workers": "2"},
        {"engine": "portable"},
        {"stream_memory": "2M"},
        {"compress": "gzip", "compress_size_max": "1M"},
    ],
)
def test_where_it_is_little_the_defaults_fit(mib: int, typed: dict[str, str]) -> None:
    before = read({"root": "www", **typed}, {}).settings
    settings, lines = fitted(mib, **typed)
    assert most(settings) <= max(mib, 64 * before.worker_count) * MIB
    assert settings.memory < before.memory
    assert settings.stream_memory >= settings.window_size * settings.windows_per_connection
    [line] = lines
    assert line.startswith("memory: --memory is ")
    assert f"because memory.max of /a is {mib}M" in line
    assert line.endswith("type the size that you want")


def test_what_was_given_stays_and_is_told_with_numbers_and_the_cure() -> None:
    settings, lines = fitted(128, memory="256M", stream_memory="16M")
    assert (settings.memory, settings.stream_memory) == (256 * MIB, 16 * MIB)
    [line] = lines
    assert "--memory 256M --stream-memory 16M may take 513M in all, and memory.max of /a is 128M" in line
    assert line.endswith("Type --memory 32M, or raise the limit")
    assert fitted(128, memory="32M", stream_memory="16M")[1] == []


@pytest.mark.parametrize("name", ["memory", "stream_memory", "compress_memory"])
def test_every_option_of_memory_can_be_given(name: str) -> None:
    settings, _ = fitted(128, compress="gzip", **{name: "77M"})
    assert getattr(settings, name) == 77 * MIB


def test_the_doctor_adds_up_what_the_workers_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory_limit", lambda: Limit(128 * MIB, "memory.max of /a"))
    settings = Settings(root=Path(), workers=2)
    [low] = [each for each in doctor.examine(settings) if each.subject == "memory"]
    assert low.state is State.LOW
    assert low.text.startswith(
        "--memory 256M --stream-memory 64M for each of 2 workers may take 1106M in all"
    )
    assert "memory.max of /a is 128M" in low.text
    assert low.fix.startswith("--memory ")
    fine = doctor.memory(fitted(128)[0], Limit(128 * MIB, "memory.max of /a"))
    assert fine.state is State.OK

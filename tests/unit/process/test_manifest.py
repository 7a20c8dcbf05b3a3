"""SHA256SUMS, as sha256sum(1) writes and checks it, of what is served."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd import cli
from zchttpd.files.root import Root
from zchttpd.process import manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

ODD = [
    *(b"plain", b"a b", b" lead", b"*star", b"-dash", b"tab\t", b"b\\s", b"n\nl", b"cr\rx", b"end\r", b"\\n"),
    *(b"\xff\xfe", "ü".encode(), b"dir/in", b"dir/deep/er", b".well-known/x", b"empty", b"a/x", b"a-b"),
]
HIDDEN = [b".git/config", b".env", b"dir/.well-known/x", b"dir/.x", b"..data/x"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    for number, name in enumerate([*ODD, *HIDDEN]):
        path = Path(os.fsdecode(os.path.join(os.fsencode(made), name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == b"empty" else b"%d" % number)
    return made


def sha256sum(*words: bytes | str, place: Path) -> tuple[int, bytes]:
    done = subprocess.run(
        ["sha256sum", *words], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    return done.returncode, done.stdout


def run(*words: str | Path) -> int:
    return cli.main(["manifest", *map(str, words)])


def test_it_is_what_sha256sum_writes(place: Path) -> None:
    assert run(place) == 0
    expected = sha256sum("--", *sorted(ODD), place=place)[1]
    assert (place / "SHA256SUMS").read_bytes() == expected
    assert sha256sum("--check", "SHA256SUMS", place=place)[0] == 0
    # The one before is no part of it.
    assert run(place) == 0
    assert (place / "SHA256SUMS").read_bytes() == expected
    assert run("--check", place) == 0
    assert sorted(each.name for each in place.iterdir() if each.name.startswith(".SHA")) == []


def test_what_is_not_served_has_no_line(place: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (place / "out").symlink_to("../secret")
    (place / "broken").symlink_to("nowhere")
    (place / "to-hidden").symlink_to(".env")
    (place / "to-directory").symlink_to("dir")
    (place / "to-file").symlink_to("dir/in")
    (place / "loop").symlink_to("loop")
    os.mkfifo(place / "fifo")
    root = Root(place)
    assert manifest.served(root) == sorted([*ODD, b"to-file"])
    root.close()
    assert run(place) == 0
    assert sha256sum("--check", "--quiet", "SHA256SUMS", place=place) == (0, b"")


def test_checking_says_what_differs_and_ends_as_sha256sum_does(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(place)
    (place / "plain").write_bytes(b"changed")
    (place / "n\nl").unlink()
    (place / "new").write_bytes(b"")
    capsys.readouterr()
    assert run(place, "--check") == sha256sum("--check", "SHA256SUMS", place=place)[0] == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "plain: FAILED",
        "n\\nl: FAILED open or read: No such file or directory",
        "new: not in SHA256SUMS",
    ]
    assert lines[3] == f"{place}/SHA256SUMS: {len(ODD) - 2} files have the bytes that it says"
    assert len(lines) == 4


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage\n",
        b"garbage\n%(plain)b  plain\n",
        b"%(plain)b  plain\n%(plain)b  plain\n",
        b"%(plain)b *plain\n",
        b"%(PLAIN)b  ./plain",
        b"%(plain)b  ../root/plain\n",
        b"\\%(plain)b  pl\\qain\n",
        b"\\%(plain)b  plain\n",
        b"%(plain)b  no-such\n",
        b"%(plain)b  dir\n",
        b"%(other)b  plain\n",
        b"%(env)b  .env\n",
    ],
)
def test_any_manifest_is_judged_as_sha256sum_judges_it(place: Path, text: bytes) -> None:
    """But for paths that leave the directory: these are refused."""
    plain, env = ((place / name).read_bytes() for name in ("plain", ".env"))
    digests = {name: hashlib.sha256(each).hexdigest() for name, each in (("plain", plain), ("env", env))}
    values = {
        **{name.encode(): digest.encode() for name, digest in digests.items()},
        b"PLAIN": digests["plain"].upper().encode(),
        b"other": b"0" * 64,
    }
    (place / "SHA256SUMS").write_bytes(text % values)
    expected = sha256sum("--check", "SHA256SUMS", place=place)[0]
    assert run("--check", place) == (1 if b".." in text else expected)


def test_a_path_out_of_the_directory_is_never_read(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    for path in ("../secret", str(tmp_path / "secret"), "dir/../../secret"):
        (place / "SHA256SUMS").write_text(f"{digest}  {path}\n")
        assert run("--check", place) == 1
        assert f"{path}: FAILED open or read" in capsys.readouterr().out


def test_what_is_not_whole_is_not_written(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(place)
    before = (place / "SHA256SUMS").read_bytes()
    (place / "plain").write_bytes(b"changed")
    real = manifest.hash_through

    def broken(fd: int, found: manifest.Representation, *more: Any) -> bytes:
        if found.segments == (b"empty",):
            raise PermissionError(13, "Permission denied")
        return real(fd, found, *more)

    monkeypatch.setattr(manifest, "hash_through", broken)
    assert run(place) == 1
    assert "empty: Permission denied" in capsys.readouterr().err
    assert (place / "SHA256SUMS").read_bytes() == before


def test_the_one_before_stays_when_writing_fails(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(place)
    before = (place / "SHA256SUMS").read_bytes()
    (place / "plain").write_bytes(b"changed")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run(place) == 1
    assert (place / "SHA256SUMS").read_bytes() == before
    assert [each for each in place.iterdir() if each.name.startswith(".SHA")] == []


def test_a_file_that_changes_is_read_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.preadv
    path = place / "changing"
    path.write_bytes(b"first")
    left = [manifest.ATTEMPTS_MAX - 1]

    def preadv(fd: int, buffers: Sequence[memoryview], at: int) -> int:
        count = real(fd, buffers, at)
        if left[0] and os.readlink(f"/proc/self/fd/{fd}") == str(path):
            left[0] -= 1
            path.write_bytes(b"last%d" % left[0])
        return count

    monkeypatch.setattr(os, "preadv", preadv)
    assert run(place) == 0
    line = f"{hashlib.sha256(b'last0').hexdigest()}  changing"
    assert line in (place / "SHA256SUMS").read_text(errors="replace")
    left[0] = 99
    assert run(place) == 1


@given(st.binary(min_size=1).filter(lambda path: b"\0" not in path), st.binary(min_size=32, max_size=32))
def test_a_line_is_read_as_it_was_written(path: bytes, digest: bytes) -> None:
    line = manifest.line_of(path, digest)
    assert b"\n" not in line
    assert b"\r" not in line
    assert manifest.parse_line(line) == (path, digest)


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ([], 2, "no directory was named. Type such as: zchttpd manifest www/"),
        (["/nonexistent"], 1, "/nonexistent: No such file or directory. Type a directory that can be read"),
        (["/dev", "--check"], 1, "SHA256SUMS: No such file or directory. Type first: zchttpd manifest DIR"),
        (["/", "--chek"], 2, "--chek"),
    ],
)
def test_errors_say_what_to_type(
    words: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        left = run(*words)
    except SystemExit as ended:
        left = int(ended.code or 0)
    assert left == status
    assert told in capsys.readouterr().err

"""Clients that fetch files: whole, resumed, in pieces, by difference, if changed, by mirroring a listing."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

import fsspec
from fsspec import asyn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Run, Serve

MIB = 1 << 20


def test_zsync_fetches_two_changed_blocks(
    serve: Serve, run: Run, root: Path, tmp_path: Path, noise: Callable[[int], bytes]
) -> None:
    new = bytearray(noise(4 * MIB))
    (tmp_path / "old").write_bytes(new)
    new[1_000_000:1_000_100] = b"a" * 100
    new[3_000_000:3_000_100] = b"b" * 100
    (root / "image").write_bytes(new)
    with serve(root) as url:
        run("zsyncmake", "-u", f"{url}/image", "-o", root / "image.zsync", root / "image")
        run("zsync", "-i", tmp_path / "old", "-o", tmp_path / "got", f"{url}/image.zsync")
    assert (tmp_path / "got").read_bytes() == new


def test_zckdl_fetches_changed_chunks(
    serve: Serve, run: Run, root: Path, tmp_path: Path, noise: Callable[[int], bytes]
) -> None:
    new = bytearray(noise(2 * MIB))
    (tmp_path / "old").write_bytes(new)
    for at in range(0, len(new), 300_000):
        new[at : at + 50] = b"c" * 50
    (tmp_path / "new").write_bytes(new)
    run("zck", "-o", tmp_path / "old.zck", tmp_path / "old")
    run("zck", "-o", root / "new.zck", tmp_path / "new")
    with serve(root) as url:
        run("zckdl", "-s", tmp_path / "old.zck", f"{url}/new.zck")
    assert (tmp_path / "new.zck").read_bytes() == (root / "new.zck").read_bytes()


def test_curl_resumes_and_revalidates(
    serve: Serve, run: Run, root: Path, tmp_path: Path, noise: Callable[[int], bytes]
) -> None:
    content = noise(3 * MIB)
    (root / "file.bin").write_bytes(content)
    (tmp_path / "got").write_bytes(content[:1_000_000])
    with serve(root) as url:
        run("curl", "-sS", "-f", "-C", "-", "-o", "got", f"{url}/file.bin")
        assert (tmp_path / "got").read_bytes() == content
        write = ("-sS", "-w", "%{http_code}", "-o", os.devnull)
        assert run("curl", *write, "--etag-save", "tag", f"{url}/file.bin") == "200"
        assert run("curl", *write, "--etag-compare", "tag", f"{url}/file.bin") == "304"
        run("curl", "-sS", "-R", "-o", "dated", f"{url}/file.bin")
        assert run("curl", *write, "-z", "dated", f"{url}/file.bin") == "304"
        parts = run("curl", "-sS", "-r", "0-4,1000000-1000004", f"{url}/file.bin")
        assert parts.startswith("\r\n--")
        assert content[:5].decode() in parts
        assert content[1_000_000:1_000_005].decode() in parts


def test_curl_takes_a_stored_coding(serve: Serve, run: Run, root: Path) -> None:
    (root / "page.js").write_text("plain\n")
    (root / "page.js.gz").write_bytes(gzip.compress(b"packed\n"))
    with serve(root) as url:
        assert run("curl", "-sS", f"{url}/page.js") == "plain\n"
        assert run("curl", "-sS", "--compressed", f"{url}/page.js") == "packed\n"


def test_curl_of_http_1_0_and_two_requests_on_a_connection(serve: Serve, run: Run, root: Path) -> None:
    (root / "a").write_text("one\n")
    with serve(root) as url:
        assert run("curl", "-sS", "--http1.0", f"{url}/a", f"{url}/a") == "one\none\n"
        kept = run("curl", "-sSv", f"{url}/a", f"{url}/a")
    assert re.search("(?i)re-?using existing", kept)


def test_wget_mirrors_a_listing(serve: Serve, run: Run, root: Path, tmp_path: Path) -> None:
    names = ["a b.txt", "100%.txt", "what?.txt", "c#d.txt", "e+f.txt", "g&h.txt", "ü.txt", "quote'\".txt"]
    (root / "sub").mkdir()
    for name in names:
        (root / "sub" / name).write_text(name)
    with serve(root, listing=True) as url:
        run("wget", "-q", "-r", "-np", "-nH", "-P", tmp_path / "got", f"{url}/")
    got = {path.name: path.read_text() for path in (tmp_path / "got" / "sub").iterdir()}
    assert {name: text for name, text in got.items() if not name.startswith("index.html")} == {
        name: name for name in names
    }


def test_wget_resumes_and_skips_what_it_has(
    serve: Serve, run: Run, root: Path, tmp_path: Path, noise: Callable[[int], bytes]
) -> None:
    content = noise(2 * MIB)
    (root / "file.bin").write_bytes(content)
    (tmp_path / "file.bin").write_bytes(content[:500_000])
    with serve(root) as url:
        assert "206 Partial Content" in run("wget", "-c", f"{url}/file.bin")
        assert (tmp_path / "file.bin").read_bytes() == content
        run("wget", "-q", "-N", f"{url}/file.bin")
        assert "304 Not Modified" in run("wget", "-N", f"{url}/file.bin")


def test_aria2_fetches_in_pieces(
    serve: Serve, run: Run, root: Path, tmp_path: Path, noise: Callable[[int], bytes]
) -> None:
    content = noise(20 * MIB)
    (root / "model.bin").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    with serve(root, memory="16M") as url:
        words = ("-x8", "-s8", "-k1M", "--no-conf", "--console-log-level=warn", "--summary-interval=0")
        run("aria2c", *words, f"--checksum=sha-256={digest}", f"{url}/model.bin")
    assert (tmp_path / "model.bin").read_bytes() == content


def test_ab_keeps_its_connections(serve: Serve, run: Run, root: Path) -> None:
    (root / "a.html").write_text("<p>hello</p>")
    with serve(root) as url:
        printed = run("ab", "-q", "-k", "-n", "200", "-c", "2", f"{url}/a.html")
        assert re.search(r"Complete requests:\s+200\n", printed)
        assert re.search(r"Failed requests:\s+0\n", printed)
        assert re.search(r"Keep-Alive requests:\s+200\n", printed)
        assert "Keep-Alive requests" not in run("ab", "-q", "-n", "20", "-c", "2", f"{url}/a.html")


def test_rclone_lists_copies_and_checks(
    serve: Serve, run: Run, root: Path, tmp_path: Path, noise: Callable[[int], bytes]
) -> None:
    files = {"a b.txt": b"ab", "100%.txt": b"%", "sub/what?.txt": b"?", "sub/deep/ü+.bin": noise(700_000)}
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with serve(root, listing=True) as url:
        remote = ("--http-url", f"{url}/", ":http:")
        listed = run("rclone", "lsf", "-R", "--files-only", *remote, RCLONE_CONFIG=os.devnull)
        assert sorted(line for line in listed.splitlines() if "NOTICE" not in line) == sorted(files)
        run("rclone", "copy", *remote, tmp_path / "got", RCLONE_CONFIG=os.devnull)
    got = {
        path.relative_to(tmp_path / "got").as_posix(): path.read_bytes()
        for path in (tmp_path / "got").rglob("*")
        if path.is_file()
    }
    assert got == files


def test_fsspec_lists_nothing_but_the_files(serve: Serve, root: Path) -> None:
    names = [
        *("sub/10.csv", "sub/2.csv", "sub/a b.csv", "sub/ü+.csv", "sub/a:b%20.csv", "sub/http.log"),
        *('sub/a%b #c?/it\'s "so"/x.csv', "sub/ü &<b>/x/y z.csv"),
    ]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    with serve(root, listing=True) as url:
        with_listings = fsspec.filesystem("http", skip_instance_cache=True)
        found = with_listings.find(f"{url}/")
        read = {unquote(each): with_listings.cat(each).decode() for each in found}
        top = with_listings.ls(f"{url}/", detail=False)
        asyn.sync(with_listings.loop, with_listings._session.close)
    assert read == {f"{url}/{name}": name for name in names}
    assert top == [f"{url}/sub/"]


def test_ffmpeg_seeks_in_a_film_and_plays_a_playlist(
    serve: Serve, run: Run, root: Path, tmp_path: Path
) -> None:
    quiet = ("-hide_banner", "-nostdin", "-y", "-loglevel", "error")
    source = ("-f", "lavfi", "-i", "testsrc=duration=6:size=320x240:rate=10")
    # The index is at the end of the file: it is read before the pictures.
    run("ffmpeg", *quiet, *source, "-c:v", "mpeg4", "-g", "10", root / "film.mp4")
    run(
        "ffmpeg",
        *quiet,
        "-i",
        root / "film.mp4",
        "-c",
        "copy",
        "-hls_time",
        "1",
        "-hls_list_size",
        "0",
        root / "film.m3u8",
    )
    log = tmp_path / "access"
    with serve(root, access_log=log) as url:
        run("ffmpeg", *quiet, "-ss", "5", "-i", f"{url}/film.mp4", "-frames:v", "1", "late.png")
        show = ("-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0")
        assert 5.5 < float(run("ffprobe", *show, f"{url}/film.m3u8").strip()) < 6.5
    assert (tmp_path / "late.png").read_bytes().startswith(b"\x89PNG")
    assert re.search(r'"GET /film\.mp4 HTTP/1\.1" 206 ', log.read_text())

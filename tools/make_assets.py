"""Make what the demo site serves but nobody writes: large downloads, compressed siblings of its texts.

    python3 tools/make_assets.py [--port PORT --admin HOST:PORT]

Needs the standard library only. Running it again changes nothing and takes well under a second. With --port
and --admin it also notes, for the pages, where the server on that port has its counters. The large files
are the same on every machine: SHAKE-128 (FIPS 202) of a counter, so assets/manifest.json can be kept beside
the sources while the files themselves are not. `.br` and `.zst` siblings need the packages `brotli` and
`zstandard`; where one is missing, a sibling that no longer matches its source is removed, because the
server would send a stale one in place of the source.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib
import json
import os
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Codec = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes], tuple[type[Exception], ...]]

MIB = 1024 * 1024
SITE = Path(__file__).resolve().parents[1] / "www"
# Which port has its counters where: of this machine and this day, so it is not kept beside the sources.
ADMIN = "admin.json"
ASSETS = {"1MiB.bin": 1 * MIB, "10MiB.bin": 10 * MIB, "100MiB.bin": 100 * MIB}
TEXT_SUFFIXES = (".css", ".html", ".js", ".svg")
SIBLING_SUFFIXES = (".br", ".gz", ".zst")


def blocks(name: str, size: int) -> Iterator[bytes]:
    """The bytes of asset `name`, `size` in all (a multiple of 1 MiB), in blocks of 1 MiB."""
    for index in range(size // MIB):
        yield hashlib.shake_128(f"zchttpd {name} {index}".encode("ascii")).digest(MIB)


def replace(path: Path, parts: Iterator[bytes] | tuple[bytes, ...]) -> None:
    """Write `path` beside itself and rename, so that a server never sees half of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as stream:
            for part in parts:
                stream.write(part)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make_assets(folder: Path) -> list[str]:
    """Bring the large files and the manifest in `folder` up to date; the names of what had to be written."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest_path = folder / "manifest.json"
    known = json.loads(manifest_path.read_bytes())["files"] if manifest_path.exists() else []
    expected = {each["name"]: each["sha256"] for each in known}
    written, files = [], []
    for name, size in ASSETS.items():
        path = folder / name
        kept = path.is_file() and path.stat().st_size == size
        digest = sha256_of(path) if kept else ""
        if not digest or digest != expected.get(name):
            replace(path, blocks(name, size))
            digest = sha256_of(path)
            written.append(name)
        files.append({"name": name, "sha256": digest, "size": size})
    manifest = (json.dumps({"files": files}, indent=1) + "\n").encode("ascii")
    if not manifest_path.exists() or manifest_path.read_bytes() != manifest:
        replace(manifest_path, (manifest,))
        written.append(manifest_path.name)
    return written


def note_admin(folder: Path, port: int, admin: str) -> None:
    """Write into `folder` that the server on `port` has its admin listener at `admin` (H:P). What is known of
    other ports stays: two servers may serve the same site.
    """
    path = folder / ADMIN
    try:
        known = dict(json.loads(path.read_bytes()))
    except (FileNotFoundError, TypeError, ValueError):
        known = {}
    replace(path, (json.dumps({**known, str(port): admin}, indent=1).encode("ascii"),))


def codecs() -> dict[str, Codec]:
    """Suffix -> (compress, decompress, errors of decompress), for the compressors that this Python has."""

    def gzip_compress(content: bytes) -> bytes:
        # Without a time in its header, the same source gives the same sibling.
        return gzip.compress(content, 9, mtime=0)

    found: dict[str, Codec] = {".gz": (gzip_compress, gzip.decompress, (OSError, EOFError, zlib.error))}
    try:
        brotli = importlib.import_module("brotli")
        found[".br"] = (
            lambda content: brotli.compress(content, quality=11),
            brotli.decompress,
            (brotli.error,),
        )
    except ImportError:
        pass
    try:
        zstandard = importlib.import_module("zstandard")
        found[".zst"] = (
            zstandard.ZstdCompressor(level=19).compress,
            zstandard.ZstdDecompressor().decompress,
            (zstandard.ZstdError,),
        )
    except ImportError:
        pass
    return found


def matches(sibling: Path, content: bytes, codec: Codec) -> bool:
    """True when `sibling` exists and decompresses to exactly `content`."""
    if not sibling.is_file():
        return False
    _, decompress, errors = codec
    packed = sibling.read_bytes()
    try:
        return decompress(packed) == content
    except errors:
        return False


def make_siblings(site: Path) -> tuple[list[str], list[str]]:
    """Bring the compressed siblings of the text files up to date; the names of those (written, removed)."""
    available = codecs()
    written: list[str] = []
    removed: list[str] = []
    sources = sorted(path for path in site.rglob("*") if path.suffix in TEXT_SUFFIXES and path.is_file())
    for source in sources:
        content = source.read_bytes()
        # The gzip sibling can be checked by any Python, so it also tells whether the others are out of date.
        changed = not matches(source.with_name(source.name + ".gz"), content, available[".gz"])
        for suffix in SIBLING_SUFFIXES:
            sibling = source.with_name(source.name + suffix)
            if suffix in available:
                if not matches(sibling, content, available[suffix]):
                    replace(sibling, (available[suffix][0](content),))
                    written.append(str(sibling.relative_to(site)))
            elif changed and sibling.exists():
                sibling.unlink()
                removed.append(str(sibling.relative_to(site)))
    for suffix in SIBLING_SUFFIXES:
        for sibling in sorted(site.rglob(f"*{suffix}")):
            source = sibling.with_suffix("")
            if source.suffix in TEXT_SUFFIXES and not source.exists():
                sibling.unlink()
                removed.append(str(sibling.relative_to(site)))
    return written, removed


def main(arguments: list[str] | None = None) -> int:
    """Make everything in www/; 0 when done, 1 with one line of cause and fix when it cannot."""
    parser = argparse.ArgumentParser(description="Make what the demo site serves but nobody writes.")
    parser.add_argument("--port", type=int, help="where the site will be served")
    parser.add_argument("--admin", metavar="HOST:PORT", help="where that server will have its counters")
    options = parser.parse_args(arguments)
    try:
        written = [f"assets/{name}" for name in make_assets(SITE / "assets")]
        siblings, removed = make_siblings(SITE)
        if options.port and options.admin:
            note_admin(SITE / "assets", options.port, options.admin)
    except OSError as error:
        fix = f"It needs about 112 MiB of room in {SITE} and leave to write there"
        print(f"make_assets.py: {error}. {fix}", file=sys.stderr)
        return 1
    for name in written + siblings:
        print(f"wrote www/{name}")
    for name in removed:
        print(f"removed www/{name}: its source changed or is gone (install brotli and zstandard to make it)")
    if not (written or siblings or removed):
        print("www/ is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The directory that the wire suite serves: known bytes, hostile names, links in and out, sidecars, odd
times.

base/secret.txt, base/www-private/x.txt   beside the root: must never be served
base/www/                                  the root
"""

from __future__ import annotations

import functools
import gzip
import os
import random
import stat
import time
from typing import TYPE_CHECKING

import brotli  # type: ignore[import-untyped]
import zstandard

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024
MIB = 1024 * KIB

SECRET = b"TOP-SECRET-7f3a: this line lies outside of the root or behind a dot"
MTIME_S = 1_700_000_000
MTIME_NS = MTIME_S * 1_000_000_000 + 123_456_789
LAST_MODIFIED = b"Tue, 14 Nov 2023 22:13:20 GMT"


@functools.cache
def noise(size: int) -> bytes:
    """`size` bytes that no other size has as its prefix and that no window repeats."""
    return random.Random(size).randbytes(size)


SIZES = {
    "one.bin": 1,
    "1023.bin": 1023,
    "1k.bin": KIB,
    "4k.bin": 4 * KIB,
    "16k-1.bin": 16 * KIB - 1,
    "16k.bin": 16 * KIB,
    "64k.bin": 64 * KIB,
    "64k+1.bin": 64 * KIB + 1,
    "512k.bin": 512 * KIB,
    "1m.bin": MIB,
    "3m17.bin": 3 * MIB + 17,
}

SCRIPT = b"// a script\n" + b"export const answer = 42;\n" * 300
STYLE = b"/* a style */\n" + b"main { color: rebeccapurple }\n" * 300
PAGE = b"<!doctype html><title>page</title>" + b"<p>words</p>\n" * 300

# Name below types/ -> Content-Type. Each file holds its own name.
MEDIA: dict[bytes, bytes] = {
    b"a.html": b"text/html; charset=utf-8",
    b"a.htm": b"text/html; charset=utf-8",
    b"A.HTML": b"text/html; charset=utf-8",
    b"a.css": b"text/css; charset=utf-8",
    b"a.js": b"text/javascript; charset=utf-8",
    b"a.mjs": b"text/javascript; charset=utf-8",
    b"a.json": b"application/json",
    b"a.txt": b"text/plain; charset=utf-8",
    b"a.svg": b"image/svg+xml",
    b"a.png": b"image/png",
    b"a.jpg": b"image/jpeg",
    b"a.JPEG": b"image/jpeg",
    b"a.gif": b"image/gif",
    b"a.webp": b"image/webp",
    b"a.avif": b"image/avif",
    b"a.woff": b"font/woff",
    b"a.woff2": b"font/woff2",
    b"a.ttf": b"font/ttf",
    b"a.wasm": b"application/wasm",
    b"a.pdf": b"application/pdf",
    b"a.zip": b"application/zip",
    b"a.gz": b"application/gzip",
    b"a.tar.gz": b"application/gzip",
    b"a.mp4": b"video/mp4",
    b"a.webm": b"video/webm",
    b"a.mp3": b"audio/mpeg",
    b"a.webmanifest": b"application/manifest+json",
    b"a.mpd": b"application/dash+xml",
    b"a.3gp": b"video/3gpp",
    b"a.usdz": b"model/vnd.usdz+zip",
    b"a.crx": b"application/x-chrome-extension",
    b"a.importmap": b"application/importmap+json",
    b"a.kml": b"application/vnd.google-earth.kml+xml",
    b"a.ttl": b"text/turtle; charset=utf-8",
    b"a.bin": b"application/octet-stream",
    b"a.unknown-to-all": b"application/octet-stream",
    b"no-extension": b"application/octet-stream",
    b"html": b"application/octet-stream",
    b"a.": b"application/octet-stream",
}

# Path below the root (as on disk) -> its bytes.
FILES: dict[bytes, bytes] = {
    b"index.html": b"<!doctype html><title>home</title><p>home\n",
    b"probe.txt": b"still in step\n",
    b"hello.txt": b"hello, world\n",
    b"empty.txt": b"",
    **{name.encode(): noise(size) for name, size in SIZES.items()},
    b"with space.txt": b"space\n",
    "\u00fcn\u00efcode.txt".encode(): b"utf-8 name\n",
    b"100%.txt": b"percent\n",
    b"invalid\xff.txt": b"a name that is not utf-8\n",
    b"a+b.txt": b"plus\n",
    b"semi;colon.txt": b"semicolon\n",
    b'quote"d.txt': b"quote\n",
    b"back\\slash.txt": b"backslash\n",
    b"<script>.txt": b"angle\n",
    b"name:colon.txt": b"colon\n",
    b"amp&ersand.txt": b"ampersand\n",
    b"new\nline.txt": b"newline\n",
    b"#hash.txt": b"hash\n",
    b"q?mark.txt": b"question\n",
    b"tilde~.txt": b"tilde\n",
    b"%2e%2e": b"a file literally named %2e%2e\n",
    b"%252e": b"a file literally named %252e\n",
    b"...": b"three dots are a dotfile\n",
    b"a/b.txt": b"nested\n",
    b"sub/index.html": b"<!doctype html><title>sub</title>\n",
    b"sub/deep/index.html": b"<!doctype html><title>deep</title>\n",
    b"sub/deep/file.txt": b"deep file\n",
    b"sp ace/index.html": b"<!doctype html><title>space</title>\n",
    b"\xc3\xa9t\xc3\xa9/index.html": b"<!doctype html><title>summer</title>\n",
    b"back\\dir/index.html": b"<!doctype html><title>backslash</title>\n",
    b"\\evil.com/index.html": b"<!doctype html><title>evil backslash</title>\n",
    b"evil.com/dir/index.html": b"<!doctype html><title>evil dir</title>\n",
    b"evil.com/index.html": b"<!doctype html><title>evil</title>\n",
    b"x:y/index.html": b"<!doctype html><title>colon</title>\n",
    b"<img>/index.html": b"<!doctype html><title>img</title>\n",
    b"pc%dir/index.html": b"<!doctype html><title>percent</title>\n",
    b"cr\r\ndir/index.html": b"<!doctype html><title>crlf</title>\n",
    b"bare/file.txt": b"a directory without an index\n",
    b".env": SECRET,
    b".git/config": SECRET,
    b".htaccess": SECRET,
    b"sub/.htpasswd": SECRET,
    b"sub/.well-known/x": SECRET,
    b".well-known/security.txt": b"Contact: mailto:security@example.org\n",
    b".well-known/deep/er.txt": b"deeper\n",
    b".well-known/.env": SECRET,
    b".well-known-x/y": SECRET,
    b"..hidden": SECRET,
    b"cm/..2024_01/app.conf": b"configmap\n",
    b"cm/..2024_01/index.html": b"<!doctype html><title>configmap</title>\n",
    b"unreadable.txt": SECRET,
    b"closed/file.txt": SECRET,
    b"mtime-zero.txt": b"reproducible zero\n",
    b"mtime-one.txt": b"reproducible one\n",
    b"mtime-one-twin.txt": b"reproducible two\n",
    b"mtime-before.txt": b"before the epoch\n",
    b"mtime-future.txt": b"from the future\n",
    b"mtime-far.txt": b"far future\n",
    b"ns-a.txt": b"same size\n",
    b"ns-b.txt": b"SAME SIZE\n",
    b"twin-a.txt": b"twins\n",
    b"twin-b.txt": b"twins\n",
    b"app.js": SCRIPT,
    b"style.css": STYLE,
    b"page.html": PAGE,
    b"pre/index.html": PAGE,
    b"only-zst.json": b"[" + b"1, " * 2000 + b"1]",
    b"side-link.js": SCRIPT,
    b"side-dir.js": SCRIPT,
    b"side-dir.js.gz/file": b"x",
    b"side-pipe.js": SCRIPT,
    b"side-closed.js": SCRIPT,
    b"side-closed.js.gz": SECRET,
    b"side-dotlink.js": SCRIPT,
    b"idx-dir/index.html/file": b"index.html is a directory here\n",
    **{b"types/" + name: name for name in MEDIA},
}

# Files that have precompressed siblings -> suffixes.
SIDECARS: dict[bytes, tuple[str, ...]] = {
    b"app.js": ("br", "gz", "zst"),
    b"style.css": ("gz",),
    b"page.html": ("br", "gz"),
    b"pre/index.html": ("br", "gz"),
    b"only-zst.json": ("zst",),
}

LINKS: dict[bytes, bytes] = {
    b"in.txt": b"hello.txt",
    b"in-dir": b"sub",
    b"a/up.txt": b"../hello.txt",
    b"chain.txt": b"in.txt",
    b"out.txt": b"../secret.txt",
    b"out-dir": b"..",
    b"out-private": b"../www-private",
    b"a/out.txt": b"../../secret.txt",
    b"around.txt": b"../www/hello.txt",
    b"passwd": b"/etc/passwd",
    b"device": b"/dev/zero",
    b"proc": b"/proc/self",
    b"loop": b"loop",
    b"loop-a": b"loop-b",
    b"loop-b": b"loop-a",
    b"dangling": b"nothing-here",
    b"dotlink.txt": b".env",
    b"dotdirlink": b".git",
    b"idx-out/index.html": b"../../secret.txt",
    b"idx-pipe/index.html": b"../pipe",
    b"side-link.js.br": b"../secret.txt",
    b"side-link.js.gz": b"../secret.txt",
    b"side-dotlink.js.br": b".env",
    b"side-pipe.js.gz": b"pipe",
    b"cm/..data": b"..2024_01",
    b"cm/app.conf": b"..data/app.conf",
    b"cm/index.html": b"..data/index.html",
}

LONG_COMPONENT = b"n" * 255
# A hole, not blocks: whoever reads or compresses it whole is busy for minutes.
SPARSE = b"sparse.txt"
SPARSE_SIZE = 10 * 1024 * MIB

NS_TIMES = {
    b"mtime-zero.txt": 0,
    b"mtime-one.txt": 1_000_000_000,
    b"mtime-one-twin.txt": 1_000_000_000,
    b"mtime-before.txt": -86_400_000_000_000,
    b"mtime-far.txt": 253_402_300_800_000_000_000,
    b"ns-a.txt": MTIME_NS,
    b"ns-b.txt": MTIME_NS + 1,
}


def compressed(content: bytes, suffix: str) -> bytes:
    """The sidecar of `content` that ends with `suffix` (br, gz or zst)."""
    if suffix == "br":
        return bytes(brotli.compress(content))
    if suffix == "gz":
        return gzip.compress(content, mtime=0)
    return zstandard.ZstdCompressor().compress(content)


def sidecar(path: bytes, suffix: str) -> bytes:
    """The bytes of one precompressed sibling below the root."""
    return compressed(FILES[path], suffix)


def everything() -> dict[bytes, bytes]:
    """All regular files below the root, sidecars included."""
    files = dict(FILES)
    for path, suffixes in SIDECARS.items():
        for suffix in suffixes:
            files[path + b"." + suffix.encode()] = sidecar(path, suffix)
    files[LONG_COMPONENT] = b"a name of 255 bytes\n"
    return files


def build(base: Path) -> Path:
    """Write the tree under `base` and return the root, `base`/www."""
    root = base / "www"
    at = os.fsencode(root) + b"/"
    (base / "www-private").mkdir(parents=True)
    (base / "www-private" / "x.txt").write_bytes(SECRET)
    (base / "secret.txt").write_bytes(SECRET)
    (base / "secret").write_bytes(SECRET)
    for path, content in everything().items():
        os.makedirs(os.path.dirname(at + path), exist_ok=True)
        with open(at + path, "wb") as file:
            file.write(content)
        os.utime(at + path, ns=(MTIME_NS, NS_TIMES.get(path, MTIME_NS)))
    next_year_s = time.time() + 365 * 86400
    os.utime(at + b"mtime-future.txt", (next_year_s, next_year_s))
    with open(at + SPARSE, "wb") as file:
        file.truncate(SPARSE_SIZE)
    os.utime(at + SPARSE, ns=(MTIME_NS, MTIME_NS))
    os.mkfifo(at + b"pipe")
    os.mknod(at + b"socket", stat.S_IFSOCK | 0o666)
    for path, target in LINKS.items():
        os.makedirs(os.path.dirname(at + path), exist_ok=True)
        os.symlink(target, at + path)
    os.chmod(at + b"unreadable.txt", 0)
    os.chmod(at + b"side-closed.js.gz", 0)
    os.chmod(at + b"closed", 0)
    return root

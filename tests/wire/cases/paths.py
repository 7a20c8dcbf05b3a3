"""Paths: decode once, normalise, resolve beneath the root, check the opened file (RFC 3986 sections 2.1,
5.2.4; RFC 9112 section 3).
"""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes

from ..case import ABSENT, CLOSED, KEPT, PRESENT, Case
from ..client import request
from ..tree import FILES, LONG_COMPONENT, SECRET, everything


def _hidden(path: bytes) -> bool:
    first, *_ = segments = path.split(b"/")
    dotted = [segment for segment in segments if segment.startswith(b".")]
    return dotted not in ([], [b".well-known"]) or (bool(dotted) and first != b".well-known")


def _served() -> list[Case]:
    """Every readable file of the tree is served whole, under its percent-encoded name and with a strong
    validator.
    """
    closed = {b"unreadable.txt", b"side-closed.js.gz", b"closed/file.txt"}
    return [
        Case(
            f"file-{quote_from_bytes(path, safe='')[:60]}",
            request("/" + quote_from_bytes(path)),
            200,
            body=content,
            headers={"ETag": re.compile(rb'"[^"]+"'), "Content-Encoding": ABSENT, "Content-Type": PRESENT},
            kept=KEPT,
        )
        for path, content in everything().items()
        if not _hidden(path) and path not in closed
    ]


def _ok(name: str, target: bytes | str, path: bytes) -> Case:
    return Case(name, request(target), 200, body=FILES[path], kept=KEPT)


def _gone(name: str, target: bytes | str) -> Case:
    return Case(name, request(target), 404, kept=KEPT, never=(SECRET,))


def _no_separator(target: str) -> Case:
    """An encoded slash is in no file name; whether the connection goes on is not laid down."""
    return Case(f"no-separator-{target}", request(target), 404, never=(SECRET,))


def _refused(name: str, target: bytes | str) -> Case:
    """A syntax that is wrong, or a path that leads out of the root: 400 or 404."""
    return Case(name, request(target), (400, 404), never=(SECRET,))


def _bad(name: str, target: bytes | str) -> Case:
    return Case(name, request(target), 400, kept=CLOSED, never=(SECRET,))


TRAVERSALS = [
    "/../secret",
    "/../secret.txt",
    "/a/../../secret",
    "/a/../../secret.txt",
    "/%2e%2e/secret",
    "/%2E%2e%2Fsecret",
    "/..%2fsecret",
    "/..;/secret",
    "/%2e%2e/secret.txt",
    "/.%2e/secret.txt",
    "/%2e./secret.txt",
    "/.%2E/",
    "/.%2e/",
    "/%2E%2E%2Fsecret.txt",
    "/..%2fsecret.txt",
    "/..;/secret.txt",
    "/a/..;/..;/secret.txt",
    "/a/%2e%2e/%2e%2e/secret.txt",
    "/../www-private/x.txt",
    "/a/../../www-private/x.txt",
    "/../../../../../../../../etc/passwd",
    "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/..",
    "/../",
    "/a/../..",
    "/sub/deep/../../../secret.txt",
    "/....//secret.txt",
    "/.../secret.txt",
    "//../secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/%2e%2e%5csecret.txt",
    "/..%00/secret.txt",
    "/..%0a/secret.txt",
    "/..%c0%afsecret.txt",
    "/..%255csecret.txt",
    "/in-dir/../../secret.txt",
    "/%5c../secret.txt",
    "/a/./../../secret.txt",
    "/%2e/%2e%2e/secret.txt",
    "/../www/../secret.txt",
    "/hello.txt/../../secret.txt",
    "/www/../../secret.txt",
]

STAYING = [
    ("/a/../hello.txt", b"hello.txt"),
    ("/./hello.txt", b"hello.txt"),
    ("/a/./b.txt", b"a/b.txt"),
    ("/a/../a/b.txt", b"a/b.txt"),
    ("/sub/deep/../../hello.txt", b"hello.txt"),
    ("/%2e/hello.txt", b"hello.txt"),
    ("/a/%2e%2e/hello.txt", b"hello.txt"),
    ("/a/.%2E/hello.txt", b"hello.txt"),
    ("/nowhere/../hello.txt", b"hello.txt"),
    ("/sub/./deep/../index.html", b"sub/index.html"),
    ("/sub/deep/..", b"sub/index.html"),
    ("/sub/deep/../", b"sub/index.html"),
    ("/sub/.", b"sub/index.html"),
    ("/sub/./", b"sub/index.html"),
    ("/.", b"index.html"),
    ("/./", b"index.html"),
    ("/a/..", b"index.html"),
]

ONE_DECODE = [
    "/%252e%252e/secret",
    "/%252e%252e/secret.txt",
    "/%c0%ae%c0%ae/secret",
    "/%c0%ae%c0%ae/secret.txt",
    "/%ef%bc%8e%ef%bc%8e/secret",
    "/hello%252etxt",
    "/%2568ello.txt",
    "/%ef%bc%8e%ef%bc%8e/secret.txt",
    "/%e0%80%ae%e0%80%ae/secret.txt",
    "/%c1%9csecret.txt",
]

BAD_TRIPLETS = [
    "/%%32%65%%32%65/",
    "/%%32%65%%32%65/secret.txt",
    "/%uff0e",
    "/%uff0e%uff0e/secret.txt",
    "/foo%",
    "/foo%1",
    "/foo%zz",
    "/%",
    "/%%",
    "/%g0",
    "/%0g",
    "/hello.txt%",
    "/%+1",
    "/%-1",
    "/%0x41",
    "/a/%2",
    "/%x41",
]

SLASHES = [
    "/a%2fb.txt",
    "/a%2Fb.txt",
    "/%2fhello.txt",
    "/sub%2findex.html",
    "/%2f",
    "/a%2f..%2fhello.txt",
    "/a%2f%2e%2e%2fhello.txt",
    "/.well-known%2fsecurity.txt",
]

BACKSLASHES = [
    "/..\\secret",
    "/%5c..%5csecret",
    "/\\evil.com/x",
    "/..\\secret.txt",
    "/%5c..%5csecret.txt",
    "/a\\b.txt",
    "/a%5cb.txt",
    "/\\hello.txt",
    "/%5chello.txt",
]

NULS = [
    "/file%00.html",
    "/hello.txt%00",
    "/hello%00.txt",
    "/%00",
    "/hello.txt%00.html",
    "/%00hello.txt",
    "/a/%00/b.txt",
    "/sub/%00",
    "/nothing%00",
]

DOTFILES = [
    "/.env",
    "/.git/config",
    "/.git",
    "/.git/",
    "/.htaccess",
    "/sub/.htpasswd",
    "/.well-known/.env",
    "/.well-known-x/y",
    "/sub/.well-known/x",
    "/.env/.",
    "/.env/",
    "/%2eenv",
    "/%2Eenv",
    "/.e%6ev",
    "/a/../.env",
    "/..hidden",
    "/...",
    "/%2e%2ehidden",
    "/.git/%63onfig",
    "/sub/../.git/config",
    "/dotlink.txt",
    "/dotdirlink/config",
    "/cm/..data/app.conf",
    "/cm/..2024_01/app.conf",
    "/cm/..data",
    "/cm/..data/",
    "/.nothing-here",
    "/.well-known/../.env",
    "/.well-known/%2e%2e/.env",
    "/.WELL-KNOWN/security.txt",
    "/a/.well-known/security.txt",
    "/in-dir/.htpasswd",
]

OUTSIDE = [
    "/out.txt",
    "/out-dir/secret.txt",
    "/out-dir/",
    "/out-dir",
    "/out-private/x.txt",
    "/a/out.txt",
    "/around.txt",
    "/passwd",
    "/proc/status",
    "/proc/environ",
    "/proc/root/etc/passwd",
    "/proc/cwd",
    "/idx-out/",
    "/loop",
    "/loop-a",
    "/loop/x",
    "/dangling",
    "/in-dir/../out.txt",
]

NOT_FILES = ["/pipe", "/socket", "/device", "/idx-pipe/", "/pipe/", "/socket/x"]

NO_PATH_INFO = [
    "/hello.txt/",
    "/hello.txt/extra",
    "/hello.txt/../nothing",
    "/index.html/",
    "/hello.txt//",
    "/in.txt/",
    "/app.js/x",
]

MISSING = [
    "/nothing",
    "/nothing/",
    "/a/nothing.txt",
    "/HELLO.TXT",
    "/hello.txt%20",
    "/hello.txt.",
    "/hello.tx",
    "/hello.txtt",
    "/%20hello.txt",
]

LONG = [
    ("component-256", "/" + "n" * 256),
    ("component-300", "/" + "n" * 300),
    ("component-300-dir", "/" + "n" * 300 + "/x"),
    ("path-4097", "/" + "/".join(["d" * 100] * 41)),
    ("dots-2000", "/" + "./" * 2000 + "nothing"),
    ("deep-2000", "/" + "a/" * 2000 + "x"),
]

CASES = (
    *_served(),
    Case(
        "root",
        request("/"),
        200,
        body=FILES[b"index.html"],
        headers={"Content-Type": b"text/html; charset=utf-8"},
        kept=KEPT,
    ),
    _ok("index-of-directory", "/sub/", b"sub/index.html"),
    _ok("index-deeper", "/sub/deep/", b"sub/deep/index.html"),
    _ok("index-of-encoded-directory", "/sp%20ace/", b"sp ace/index.html"),
    _ok("query-is-no-path", "/hello.txt?a=b&c=/../..", b"hello.txt"),
    _ok("empty-query", "/hello.txt?", b"hello.txt"),
    _ok("query-with-question-marks", "/hello.txt?a?b?%00%zz", b"hello.txt"),
    _ok("needless-encoding", "/%68%65%6c%6c%6f%2e%74%78%74", b"hello.txt"),
    _ok("lower-case-hex", "/%c3%bcn%c3%afcode.txt", "\u00fcn\u00efcode.txt".encode()),
    _ok("plus-is-no-space", "/a+b.txt", b"a+b.txt"),
    _gone("plus-for-space", "/with+space.txt"),
    _ok("semicolon-is-a-byte", "/semi;colon.txt", b"semi;colon.txt"),
    _gone("semicolon-parameters", "/hello.txt;v=1"),
    _ok("long-component", b"/a/../" + b"nothing/../" * 20 + b"hello.txt", b"hello.txt"),
    Case("name-of-255-bytes", request(b"/" + LONG_COMPONENT), 200, body=b"a name of 255 bytes\n", kept=KEPT),
    *(_refused(f"traversal-{target}", target) for target in TRAVERSALS),
    *(_ok(f"stays-inside-{target}", target, path) for target, path in STAYING),
    *(_gone(f"decoded-once-{target}", target) for target in ONE_DECODE),
    _ok("literal-percent-names", "/%252e%252e", b"%2e%2e"),
    _ok("literal-percent-names-twice", "/%25252e", b"%252e"),
    *(_bad(f"bad-triplet-{target}", target) for target in BAD_TRIPLETS),
    *(_no_separator(target) for target in SLASHES),
    *(_gone(f"backslash-{target}", target) for target in BACKSLASHES),
    _ok("backslash-name", "/back%5Cslash.txt", b"back\\slash.txt"),
    *(_bad(f"nul-{target}", target) for target in NULS),
    *(_gone(f"dotfile-{target}", target) for target in DOTFILES),
    Case("dotfile-behind-two-slashes", request("//.env"), (301, 404), never=(SECRET,)),
    _ok("well-known", "/.well-known/security.txt", b".well-known/security.txt"),
    _ok("well-known-encoded", "/%2ewell-known/security.txt", b".well-known/security.txt"),
    _ok("well-known-deeper", "/.well-known/deep/er.txt", b".well-known/deep/er.txt"),
    *(Case(f"outside-{target}", request(target), (403, 404), never=(SECRET, b"root:")) for target in OUTSIDE),
    _ok("link-inside", "/in.txt", b"hello.txt"),
    _ok("link-inside-through-parent", "/a/up.txt", b"hello.txt"),
    _ok("link-chain", "/chain.txt", b"hello.txt"),
    _ok("link-to-directory", "/in-dir/deep/file.txt", b"sub/deep/file.txt"),
    _ok("link-to-directory-index", "/in-dir/", b"sub/index.html"),
    _ok("configmap", "/cm/app.conf", b"cm/..2024_01/app.conf"),
    _ok("configmap-index", "/cm/", b"cm/..2024_01/index.html"),
    *(Case(f"no-regular-file-{target}", request(target), (403, 404)) for target in NOT_FILES),
    *(_gone(f"no-path-info-{target}", target) for target in NO_PATH_INFO),
    *(_gone(f"missing-{target}", target) for target in MISSING),
    *(_gone(f"long-{name}", target) for name, target in LONG),
    Case("unreadable-file", request("/unreadable.txt"), (403, 404), kept=KEPT, never=(SECRET,)),
    Case("unreadable-directory", request("/closed/file.txt"), (403, 404), kept=KEPT, never=(SECRET,)),
    Case("unreadable-directory-itself", request("/closed/"), (403, 404), kept=KEPT),
    Case("directory-without-index", request("/bare/"), (403, 404), kept=KEPT, never=(b"file.txt",)),
    Case("index-is-a-directory", request("/idx-dir/"), (403, 404), kept=KEPT),
)

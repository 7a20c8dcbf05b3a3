"""Conditional requests: RFC 9110 section 13, in the order of 13.2.2."""

from __future__ import annotations

from ..case import ABSENT, KEPT, PRESENT, Case
from ..client import request
from ..tree import FILES, LAST_MODIFIED

HELLO = FILES[b"hello.txt"]
PATH = "/hello.txt"
TAG = "@etag(/hello.txt)"
EQUAL = LAST_MODIFIED.decode()
EARLIER = "Tue, 14 Nov 2023 22:13:19 GMT"
LATER = "Tue, 14 Nov 2023 22:13:21 GMT"


def _new(name: str, *lines: str, path: str = PATH, body: bytes = HELLO) -> Case:
    return Case(name, request(path, *lines), 200, body=body, kept=KEPT)


def _same(name: str, *lines: str, path: str = PATH, method: str = "GET") -> Case:
    unsaid = {"Content-Range": ABSENT, "Content-Encoding": ABSENT}
    return Case(
        name,
        request(path, *lines, method=method),
        304,
        body=b"",
        headers={"ETag": PRESENT, **unsaid},
        kept=KEPT,
    )


def _failed(name: str, *lines: str, path: str = PATH, method: str = "GET") -> Case:
    return Case(name, request(path, *lines, method=method), 412, kept=KEPT, never=(HELLO,))


# Values of If-Modified-Since / If-Unmodified-Since that are no date: the field is ignored (13.1.3, 13.1.4).
NO_DATES = [
    "yesterday",
    "",
    "0",
    "1700000000",
    "2023-11-14T22:13:20Z",
    "Tue, 14 Nov 2023 22:13:20",
    "Tue, 32 Nov 2023 22:13:20 GMT",
    "Tue, 14 Foo 2023 22:13:20 GMT",
    "Tue, 14 Nov 2023 25:13:20 GMT",
    "Tue, 14 Nov 2023 22:61:20 GMT",
    "Tue, 14 Nov 99999999999999 22:13:20 GMT",
    "Tue, 14 Nov -2023 22:13:20 GMT",
    "Tue, 14 Nov 2023 22:13:20 GMT, Tue, 14 Nov 2023 22:13:20 GMT",
    "Tue, 30 Feb 2024 00:00:00 GMT",
    "9" * 400,
    "Tue, 14 Nov 2023 22:13:20 GMT; length=13",
    "tue, 14 nov 2023 22:13:20 gmt",
    "Tue, 14 Nov 2023 22:13:20 gmt",
    "TUE, 14 NOV 2023 22:13:20 GMT",
    "Tue, 14 Nov 2023 22:13:20 UTC",
    "Tue, 14 Nov 2023 22:13:20 +0000",
    "Tue, 14 Nov 2023 24:00:00 GMT",
    "Tue, 14 Nov 2023 22:13:61 GMT",
    "Tue, 14 Nov 0000 22:13:20 GMT",
    "Tue, 14 Nov 12023 22:13:20 GMT",
    "Tue, 4 Nov 2023 22:13:20 GMT",
    "Tue, 00 Nov 2023 22:13:20 GMT",
    "Wed, 29 Feb 2023 22:13:20 GMT",
    "Tuesday, 14-Nov-2023 22:13:20 GMT",
    "Tue, 14-Nov-23 22:13:20 GMT",
    "Tue Nov 14 22:13:20 23",
    "Tue Nov 14 22:13:20 2023 GMT",
    "Tue Nov 4 22:13:20 2023",
    "Day, 14 Nov 2023 22:13:20 GMT",
    '"Tue, 14 Nov 2023 22:13:20 GMT"',
]

MANY_TAGS = ", ".join(f'"{number}"' for number in range(500))

CASES = (
    Case(
        "validators", request(PATH), 200, headers={"ETag": PRESENT, "Last-Modified": LAST_MODIFIED}, kept=KEPT
    ),
    # If-None-Match: a list, weak comparison, *.
    _same("none-match", f"If-None-Match: {TAG}"),
    _same("none-match-weak", f"If-None-Match: W/{TAG}"),
    _same("none-match-star", "If-None-Match: *"),
    _same("none-match-in-list", f'If-None-Match: "a", "b", {TAG}, "c"'),
    _same("none-match-in-list-without-spaces", f'If-None-Match: "a","b",{TAG}'),
    _same("none-match-weak-in-list", f'If-None-Match: W/"a", W/{TAG}'),
    _same("none-match-empty-elements", f"If-None-Match: , ,{TAG},"),
    _same("none-match-comma-in-a-tag", f'If-None-Match: "a,b", {TAG}'),
    _same("none-match-two-fields", 'If-None-Match: "a"', f"If-None-Match: {TAG}"),
    _same("none-match-much-space", f"If-None-Match: \t {TAG} \t "),
    _same("none-match-long-list", f"If-None-Match: {MANY_TAGS}, {TAG}"),
    _same("none-match-head", f"If-None-Match: {TAG}", method="HEAD"),
    _same("none-match-of-large", "If-None-Match: @etag(/3m17.bin)", path="/3m17.bin"),
    _same("none-match-of-index", "If-None-Match: @etag(/)", path="/"),
    _new("none-match-other", 'If-None-Match: "other"'),
    _new("none-match-other-list", f"If-None-Match: {MANY_TAGS}"),
    _new("none-match-of-another-file", "If-None-Match: @etag(/a/b.txt)"),
    _new("none-match-comma-inside-hides-tag", 'If-None-Match: "x, y"'),
    _new("none-match-unterminated", 'If-None-Match: "x'),
    _new("none-match-wrong-w", f"If-None-Match: w/{TAG}X"),
    _new("none-match-empty", "If-None-Match: "),
    _new("none-match-unquoted", "If-None-Match: unquoted"),
    _new("none-match-star-in-list", 'If-None-Match: "a", *'),
    _new("none-match-two-stars", "If-None-Match: *, *"),
    _new("none-match-tag-and-garbage", f"If-None-Match: {TAG} x"),
    _new("none-match-single-quotes", "If-None-Match: '1-d'"),
    _new("none-match-quoted-star", 'If-None-Match: "*"'),
    # If-Modified-Since.
    _same("modified-since-equal", f"If-Modified-Since: {EQUAL}"),
    _same("modified-since-later", f"If-Modified-Since: {LATER}"),
    _same("modified-since-far-later", "If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT"),
    _same("modified-since-rfc850", "If-Modified-Since: Tuesday, 14-Nov-23 22:13:20 GMT"),
    _same("modified-since-asctime", "If-Modified-Since: Tue Nov 14 22:13:20 2023"),
    _same("modified-since-leap-second", "If-Modified-Since: Sun, 31 Dec 2023 23:59:60 GMT"),
    _new("modified-since-leap-second-earlier", "If-Modified-Since: Sat, 31 Dec 2016 23:59:60 GMT"),
    # The name of the day says nothing that the date does not.
    _same("modified-since-wrong-weekday", "If-Modified-Since: Mon, 14 Nov 2023 22:13:20 GMT"),
    _new("modified-since-wrong-weekday-earlier", "If-Modified-Since: Mon, 14 Nov 2023 22:13:19 GMT"),
    _new("modified-since-year-1", "If-Modified-Since: Mon, 01 Jan 0001 00:00:00 GMT"),
    _failed("unmodified-since-year-1", "If-Unmodified-Since: Mon, 01 Jan 0001 00:00:00 GMT"),
    _new("unmodified-since-year-9999", "If-Unmodified-Since: Fri, 31 Dec 9999 23:59:59 GMT"),
    _failed("unmodified-since-asctime-earlier", "If-Unmodified-Since: Tue Nov 14 22:13:19 2023"),
    _same("modified-since-head", f"If-Modified-Since: {EQUAL}", method="HEAD"),
    _new("modified-since-earlier", f"If-Modified-Since: {EARLIER}"),
    _new("modified-since-epoch", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"),
    _new("modified-since-rfc850-earlier", "If-Modified-Since: Tuesday, 14-Nov-23 22:13:19 GMT"),
    _new("modified-since-rfc850-of-1994", "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT"),
    _new("modified-since-asctime-one-digit-day", "If-Modified-Since: Sun Nov  6 08:49:37 1994"),
    *(
        _new(f"modified-since-no-date-{at}", f"If-Modified-Since: {value}")
        for at, value in enumerate(NO_DATES)
    ),
    _new("modified-since-twice", f"If-Modified-Since: {EQUAL}", f"If-Modified-Since: {EQUAL}"),
    # If-None-Match decides alone when both are there (13.2.2 step 3 and 4).
    _new(
        "none-match-other-and-modified-since-equal", 'If-None-Match: "other"', f"If-Modified-Since: {EQUAL}"
    ),
    _same("none-match-and-modified-since-earlier", f"If-None-Match: {TAG}", f"If-Modified-Since: {EARLIER}"),
    # If-Match: strong comparison.
    _new("match", f"If-Match: {TAG}"),
    _new("match-star", "If-Match: *"),
    _new("match-in-list", f'If-Match: "a", {TAG}'),
    _new("match-two-fields", 'If-Match: "a"', f"If-Match: {TAG}"),
    _failed("match-other", 'If-Match: "other"'),
    _failed("match-empty", "If-Match: "),
    _failed("match-unquoted", "If-Match: unquoted"),
    _failed("match-star-in-list", 'If-Match: "a", *'),
    _failed("match-long-list", f"If-Match: {MANY_TAGS}"),
    _new("match-at-the-end-of-a-long-list", f"If-Match: {MANY_TAGS}, {TAG}"),
    _failed("match-weak", f"If-Match: W/{TAG}"),
    _failed("match-weak-in-list", f'If-Match: "a", W/{TAG}'),
    _failed("match-head", 'If-Match: "other"', method="HEAD"),
    _failed("match-other-of-large", 'If-Match: "other"', path="/3m17.bin"),
    # If-Unmodified-Since.
    _new("unmodified-since-equal", f"If-Unmodified-Since: {EQUAL}"),
    _new("unmodified-since-later", f"If-Unmodified-Since: {LATER}"),
    _failed("unmodified-since-earlier", f"If-Unmodified-Since: {EARLIER}"),
    _failed("unmodified-since-earlier-rfc850", "If-Unmodified-Since: Tuesday, 14-Nov-23 22:13:19 GMT"),
    _failed("unmodified-since-earlier-head", f"If-Unmodified-Since: {EARLIER}", method="HEAD"),
    *(
        _new(f"unmodified-since-no-date-{at}", f"If-Unmodified-Since: {value}")
        for at, value in enumerate(NO_DATES)
    ),
    # Several at once, in the order of 13.2.2.
    _new("match-beats-unmodified-since", f"If-Match: {TAG}", f"If-Unmodified-Since: {EARLIER}"),
    _failed("match-other-beats-unmodified-since", 'If-Match: "other"', f"If-Unmodified-Since: {LATER}"),
    _failed("match-other-beats-none-match", 'If-Match: "other"', f"If-None-Match: {TAG}"),
    _same("match-then-none-match", f"If-Match: {TAG}", f"If-None-Match: {TAG}"),
    _failed("unmodified-since-beats-none-match", f"If-Unmodified-Since: {EARLIER}", f"If-None-Match: {TAG}"),
    _same(
        "unmodified-since-then-modified-since", f"If-Unmodified-Since: {EQUAL}", f"If-Modified-Since: {EQUAL}"
    ),
    _same("none-match-beats-range", f"If-None-Match: {TAG}", "Range: bytes=0-1"),
    _failed("match-beats-range", 'If-Match: "other"', "Range: bytes=0-1"),
    _failed("match-beats-unsatisfiable-range", 'If-Match: "other"', "Range: bytes=99-"),
    Case(
        "match-then-range",
        request(PATH, f"If-Match: {TAG}", "Range: bytes=0-1"),
        206,
        of=HELLO,
        spans=((0, 1),),
        kept=KEPT,
    ),
    # A precondition is not evaluated where the answer would be neither 2xx nor 412 (13.2.1).
    Case("on-missing-match", request("/nothing", 'If-Match: "x"'), 404, kept=KEPT),
    Case("on-missing-match-star", request("/nothing", "If-Match: *"), 404, kept=KEPT),
    Case("on-missing-none-match-star", request("/nothing", "If-None-Match: *"), 404, kept=KEPT),
    Case("on-missing-modified-since", request("/nothing", f"If-Modified-Since: {LATER}"), 404, kept=KEPT),
    Case(
        "on-missing-unmodified-since", request("/nothing", f"If-Unmodified-Since: {EARLIER}"), 404, kept=KEPT
    ),
    Case("on-post-match", request(PATH, 'If-Match: "x"', method="POST"), 405),
    Case("on-post-none-match", request(PATH, "If-None-Match: *", method="POST"), 405),
    Case("on-options", request(PATH, 'If-Match: "x"', method="OPTIONS"), (200, 204)),
    # Odd times: no crash, no Last-Modified in the future, a tag of the content where the time says nothing.
    Case(
        "mtime-zero",
        request("/mtime-zero.txt"),
        200,
        headers={"ETag": PRESENT, "Last-Modified": ABSENT},
        kept=KEPT,
    ),
    Case(
        "mtime-one",
        request("/mtime-one.txt"),
        200,
        headers={"ETag": PRESENT, "Last-Modified": ABSENT},
        kept=KEPT,
    ),
    _same("mtime-zero-none-match", "If-None-Match: @etag(/mtime-zero.txt)", path="/mtime-zero.txt"),
    _same("mtime-one-none-match", "If-None-Match: @etag(/mtime-one.txt)", path="/mtime-one.txt"),
    _new(
        "mtime-one-of-its-twin",
        "If-None-Match: @etag(/mtime-one.txt)",
        path="/mtime-one-twin.txt",
        body=FILES[b"mtime-one-twin.txt"],
    ),
    _new(
        "mtime-one-modified-since",
        f"If-Modified-Since: {LATER}",
        path="/mtime-one.txt",
        body=FILES[b"mtime-one.txt"],
    ),
    _new("mtime-before", path="/mtime-before.txt", body=FILES[b"mtime-before.txt"]),
    _new("mtime-future", path="/mtime-future.txt", body=FILES[b"mtime-future.txt"]),
    _new("mtime-far", path="/mtime-far.txt", body=FILES[b"mtime-far.txt"]),
    _same("mtime-future-none-match", "If-None-Match: @etag(/mtime-future.txt)", path="/mtime-future.txt"),
    _new("nanoseconds-count", "If-None-Match: @etag(/ns-a.txt)", path="/ns-b.txt", body=FILES[b"ns-b.txt"]),
    _same("nanoseconds-same", "If-None-Match: @etag(/ns-b.txt)", path="/ns-b.txt"),
    # Two files that differ in nothing but their inode have the same tag: an inode is nobody's business.
    _same("no-inode", "If-None-Match: @etag(/twin-a.txt)", path="/twin-b.txt"),
)

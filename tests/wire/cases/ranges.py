"""Ranges: RFC 9110 section 14, If-Range section 13.1.5. Invalid is ignored, unsatisfiable is 416, and no set
of ranges costs more than the file.
"""

from __future__ import annotations

from ..case import ABSENT, KEPT, Case
from ..client import request
from ..tree import FILES, LAST_MODIFIED

PATH = "/64k.bin"
BODY = FILES[b"64k.bin"]
SIZE = len(BODY)
BIG = "/3m17.bin"
BIG_BODY = FILES[b"3m17.bin"]
BIG_SIZE = len(BIG_BODY)
TAG = "@etag(/64k.bin)"
DATE = LAST_MODIFIED.decode()


def _part(
    name: str,
    value: str,
    *spans: tuple[int, int],
    path: str = PATH,
    of: bytes = BODY,
    lines: tuple[str, ...] = (),
) -> Case:
    """Exactly these spans, in this order."""
    return Case(name, request(path, f"Range: {value}", *lines), 206, of=of, spans=spans, kept=KEPT)


def _covered(name: str, value: str, *spans: tuple[int, int]) -> Case:
    """These spans, alone or joined, or the whole file: sets that a server may coalesce or refuse."""
    return Case(
        name, request(PATH, f"Range: {value}"), (200, 206), of=BODY, spans=spans, covers=True, kept=KEPT
    )


def _whole(name: str, *lines: str, path: str = PATH, body: bytes = BODY) -> Case:
    return Case(name, request(path, *lines), 200, body=body, headers={"Content-Range": ABSENT}, kept=KEPT)


def _out(name: str, value: str, path: str = PATH, size: int = SIZE) -> Case:
    return Case(
        name,
        request(path, f"Range: {value}"),
        416,
        headers={"Content-Range": f"bytes */{size}".encode()},
        kept=KEPT,
    )


# Not a bytes-range-set: the field is ignored (14.2), never half understood.
INVALID = [
    "bytes=9-5",
    "bytes=abc",
    "bytes=1",
    "bytes=0x1-2",
    "bytes=",
    "bytes",
    "bytes=-",
    "bytes=--5",
    "bytes=1-2-3",
    "bytes=-1-5",
    "bytes=+1-5",
    "bytes=1-+5",
    "bytes=a-b",
    "bytes=1-b",
    "bytes=0-0,a-b",
    "bytes=0-0,9-5",
    "bytes=0 - 5",
    "bytes =0-5",
    "bytes:0-5",
    "0-5",
    "=0-5",
    "items=0-1",
    "lines=0-1",
    "bytes=1.5-2",
    "bytes=1e3-2e3",
    "bytes=0-5;",
    "bytes=0-5 x",
    "bytes=0-5,x",
    "bytes=-9223372036854775808-",
    "bytes=\u0661-\u0662",
    "bytes=1_0-2_0",
    "bytes=,",
    "bytes=, ,",
    "bytes=*",
    "bytes=0-*",
    "none",
    "",
    "bytes=0-5 bytes=7-9",
    "bytes==0-5",
    "byte=0-5",
    "bytess=0-5",
    "bytes=18446744073709551615-5",
    "bytes=99999999999999999999999-99999",
]

HUGE = [2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30]

SINGLE = [
    ("first-byte", "bytes=0-0", (0, 0)),
    ("second-byte", "bytes=1-1", (1, 1)),
    ("first-hundred", "bytes=0-99", (0, 99)),
    ("middle", "bytes=1000-2999", (1000, 2999)),
    ("page", "bytes=4096-8191", (4096, 8191)),
    ("across-a-page", "bytes=4095-4096", (4095, 4096)),
    ("open", "bytes=100-", (100, SIZE - 1)),
    ("open-all", "bytes=0-", (0, SIZE - 1)),
    ("open-last-byte", f"bytes={SIZE - 1}-", (SIZE - 1, SIZE - 1)),
    ("last-byte", f"bytes={SIZE - 1}-{SIZE - 1}", (SIZE - 1, SIZE - 1)),
    ("all", f"bytes=0-{SIZE - 1}", (0, SIZE - 1)),
    ("beyond-the-end", f"bytes=0-{SIZE}", (0, SIZE - 1)),
    ("far-beyond-the-end", f"bytes={SIZE - 5}-99999999", (SIZE - 5, SIZE - 1)),
    ("suffix-1", "bytes=-1", (SIZE - 1, SIZE - 1)),
    ("suffix-5", "bytes=-5", (SIZE - 5, SIZE - 1)),
    ("suffix-size", f"bytes=-{SIZE}", (0, SIZE - 1)),
    ("suffix-more-than-size", f"bytes=-{SIZE + 1}", (0, SIZE - 1)),
    ("leading-zeros", "bytes=0000-0009", (0, 9)),
    ("space-around", "bytes=0-5 ", (0, 5)),
]

BIG_SINGLE = [
    ("first-byte", (0, 0)),
    ("16k-1", (0, 16382)),
    ("16k", (0, 16383)),
    ("16k+1", (0, 16384)),
    ("offset-1", (1, 65536)),
    ("window-and-a-byte", (0, 512 * 1024)),
    ("across-windows", (512 * 1024 - 1, 512 * 1024)),
    ("odd", (333_333, 2_222_222)),
    ("all-but-first", (1, BIG_SIZE - 1)),
    ("all-but-last", (0, BIG_SIZE - 2)),
    ("last-17", (BIG_SIZE - 17, BIG_SIZE - 1)),
    ("tail-window", (3 * 1024 * 1024 - 1, BIG_SIZE - 1)),
]

MANY = ",".join(f"{at}-{at}" for at in range(0, 200, 2))
OVERLAPPING = ",".join(f"{at}-{at + 5000}" for at in range(0, 60000, 100))

CASES = (
    *(_part(f"one-{name}", value, span) for name, value, span in SINGLE),
    *(
        _part(f"big-{name}", f"bytes={span[0]}-{span[1]}", span, path=BIG, of=BIG_BODY)
        for name, span in BIG_SINGLE
    ),
    _part("one-byte-file", "bytes=0-0", (0, 0), path="/one.bin", of=FILES[b"one.bin"]),
    _part("one-byte-file-suffix", "bytes=-1", (0, 0), path="/one.bin", of=FILES[b"one.bin"]),
    _part("of-index", "bytes=0-4", (0, 4), path="/sub/", of=FILES[b"sub/index.html"]),
    Case(
        "unit-in-upper-case",
        request(PATH, "Range: BYTES=0-5"),
        (200, 206),
        of=BODY,
        spans=((0, 5),),
        kept=KEPT,
    ),
    Case(
        "content-length-of-part",
        request(PATH, "Range: bytes=10-19"),
        206,
        of=BODY,
        spans=((10, 19),),
        headers={"Content-Length": b"10", "Content-Range": b"bytes 10-19/65536"},
        kept=KEPT,
    ),
    *(_part(f"last-{number}", f"bytes=0-{number}", (0, SIZE - 1)) for number in HUGE if number >= SIZE),
    *(_out(f"first-{number}", f"bytes={number}-") for number in HUGE),
    *(_out(f"both-{number}", f"bytes={number}-{number + 1}") for number in HUGE),
    *(_part(f"suffix-{number}", f"bytes=-{number}", (0, SIZE - 1)) for number in HUGE),
    # Valid, but so long that a server may as well ignore it.
    _covered("400-digits", "bytes=0-" + "9" * 400, (0, SIZE - 1)),
    _covered("300-leading-zeros", "bytes=" + "0" * 300 + "1-2", (1, 2)),
    _out("just-beyond", f"bytes={SIZE}-"),
    _out("just-beyond-both", f"bytes={SIZE}-{SIZE + 10}"),
    _out("suffix-zero", "bytes=-0"),
    _out("all-beyond", f"bytes={SIZE}-{SIZE},{SIZE + 5}-"),
    *(_whole(f"invalid-{at}-{value[:24]}", f"Range: {value}") for at, value in enumerate(INVALID)),
    _whole("two-fields", "Range: bytes=0-1", "Range: bytes=5-6"),
    _whole("two-equal-fields", "Range: bytes=0-1", "Range: bytes=0-1"),
    *(
        Case(f"empty-file-{value}", request("/empty.txt", f"Range: {value}"), (200, 416), kept=KEPT)
        for value in ("bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=1-", "bytes=0-,0-")
    ),
    Case(
        "head-ignores-range",
        request(PATH, "Range: bytes=0-1", method="HEAD"),
        200,
        headers={"Content-Length": str(SIZE).encode(), "Content-Range": ABSENT},
        kept=KEPT,
    ),
    Case(
        "head-ignores-bad-range",
        request(PATH, "Range: bytes=99999999-", method="HEAD"),
        200,
        headers={"Content-Range": ABSENT},
        kept=KEPT,
    ),
    Case("post-ignores-range", request(PATH, "Range: bytes=0-1", method="POST"), 405),
    Case("options-ignores-range", request(PATH, "Range: bytes=0-1", method="OPTIONS"), (200, 204)),
    Case("missing-ignores-range", request("/nothing", "Range: bytes=0-1"), 404, kept=KEPT),
    # Several ranges. These are too far apart to be worth joining.
    _part("two", "bytes=0-99,30000-30099", (0, 99), (30000, 30099)),
    _part("three", "bytes=0-0,20000-20000,-1", (0, 0), (20000, 20000), (SIZE - 1, SIZE - 1)),
    _part("two-with-space", "bytes=0-99 , \t30000-30099", (0, 99), (30000, 30099)),
    _part("two-with-empty-elements", "bytes=,0-99,,30000-30099,", (0, 99), (30000, 30099)),
    _part("two-of-which-one-satisfiable", f"bytes={SIZE}-,0-9", (0, 9)),
    _part(
        "two-large",
        "bytes=0-1000000,2000000-3000000",
        (0, 1000000),
        (2000000, 3000000),
        path=BIG,
        of=BIG_BODY,
    ),
    _part(
        "two-large-unaligned",
        "bytes=1-700001,1500003-2800007",
        (1, 700001),
        (1500003, 2800007),
        path=BIG,
        of=BIG_BODY,
    ),
    _covered("two-descending", "bytes=30000-30099,0-99", (0, 99), (30000, 30099)),
    _covered("adjacent", "bytes=0-99,100-199", (0, 99), (100, 199)),
    _covered("near", "bytes=0-99,102-199", (0, 99), (102, 199)),
    _covered("overlapping", "bytes=0-100,50-199", (0, 100), (50, 199)),
    _covered("equal", "bytes=5-9,5-9,5-9", (5, 9)),
    _covered("nested", "bytes=0-999,10-19", (0, 999), (10, 19)),
    _covered("whole-twice", "bytes=0-,0-", (0, SIZE - 1)),
    _covered("whole-1000-times", "bytes=" + ",".join(["0-"] * 1000), (0, SIZE - 1)),
    _covered("hundred-bytes", "bytes=" + MANY, *((at, at) for at in range(0, 200, 2))),
    _covered("overlapping-600", "bytes=" + OVERLAPPING, (0, 64900)),
    _covered(
        "descending-100",
        "bytes=" + ",".join(f"{at}-{at}" for at in range(60000, 0, -600)),
        *((at, at) for at in range(600, 60001, 600)),
    ),
    _covered("suffixes", "bytes=-1,-2,-3,-4,-5", (SIZE - 5, SIZE - 1)),
    _covered(
        "shrinking-suffixes-500",
        "bytes=" + ",".join(f"-{at}" for at in range(500, 0, -1)),
        (SIZE - 500, SIZE - 1),
    ),
    _covered("two-thousand-unsatisfiable-and-one", "bytes=" + "99999-," * 1500 + "0-0", (0, 0)),
    # If-Range: strong comparison, exact date.
    _part("if-range-tag", "bytes=0-9", (0, 9), lines=(f"If-Range: {TAG}",)),
    _part("if-range-date-rfc850", "bytes=0-9", (0, 9), lines=("If-Range: Tuesday, 14-Nov-23 22:13:20 GMT",)),
    _part("if-range-date-asctime", "bytes=0-9", (0, 9), lines=("If-Range: Tue Nov 14 22:13:20 2023",)),
    _part("if-range-date", "bytes=0-9", (0, 9), lines=(f"If-Range: {DATE}",)),
    _part(
        "if-range-two-ranges", "bytes=0-9,30000-30009", (0, 9), (30000, 30009), lines=(f"If-Range: {TAG}",)
    ),
    _whole("if-range-weak-tag", "Range: bytes=0-9", f"If-Range: W/{TAG}"),
    _whole("if-range-other-tag", "Range: bytes=0-9", 'If-Range: "other"'),
    _whole("if-range-tag-in-list", "Range: bytes=0-9", f'If-Range: "a", {TAG}'),
    _whole("if-range-star", "Range: bytes=0-9", "If-Range: *"),
    _whole("if-range-later-date", "Range: bytes=0-9", "If-Range: Tue, 14 Nov 2023 22:13:21 GMT"),
    _whole("if-range-earlier-date", "Range: bytes=0-9", "If-Range: Tue, 14 Nov 2023 22:13:19 GMT"),
    _whole("if-range-no-date", "Range: bytes=0-9", "If-Range: yesterday"),
    _whole("if-range-empty", "Range: bytes=0-9", "If-Range: "),
    _whole("if-range-other-and-unsatisfiable", "Range: bytes=99999999-", 'If-Range: "other"'),
    _whole("if-range-without-range", f"If-Range: {TAG}"),
    _whole("if-range-other-without-range", 'If-Range: "other"'),
    Case(
        "if-range-same-and-unsatisfiable",
        request(PATH, "Range: bytes=99999999-", f"If-Range: {TAG}"),
        416,
        kept=KEPT,
    ),
    Case("then-not-modified", request(PATH, "Range: bytes=0-9", f"If-None-Match: {TAG}"), 304, kept=KEPT),
    Case(
        "part-has-validators",
        request(PATH, "Range: bytes=0-9"),
        206,
        of=BODY,
        spans=((0, 9),),
        headers={"Last-Modified": LAST_MODIFIED, "Content-Type": b"application/octet-stream"},
        kept=KEPT,
    ),
)

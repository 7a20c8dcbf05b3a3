"""What every response of the server must be, whatever was asked."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from .tree import SECRET

if TYPE_CHECKING:
    from .client import Reply

IMF_FIXDATE = re.compile(
    rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    rb" \d{4} \d\d:\d\d:\d\d GMT"
)
ENTITY_TAG = re.compile(rb'(W/)?"[\x21\x23-\x7e\x80-\xff]*"')
ERROR_BODY_MAX = 4096
# What an error page may not tell: where the root is, what Python or the kernel said.
INDISCREET = (b"Traceback", b"Errno", b"errno", b".py", b"/www", b"/tmp", b"uring")
SINGLE = (
    b"date",
    b"content-length",
    b"content-type",
    b"content-range",
    b"content-encoding",
    b"etag",
    b"last-modified",
    b"location",
    b"connection",
    b"accept-ranges",
    b"vary",
    b"allow",
)


def check(reply: Reply, method: bytes) -> None:
    """Raises AssertionError for the first rule that a response to `method` breaks."""
    assert reply.version == b"1.1", f"version {reply.version!r}"
    for name in SINGLE:
        reply.field(name)
    _judge_dates(reply)
    _judge_framing(reply, method)
    for name, value in reply.headers:
        assert SECRET not in value, f"the secret is in {name!r}"
        assert not re.search(rb"[^\x20-\x7e\t]", value), (
            f"{name!r} has a byte that is no visible ASCII: {value!r}"
        )
    assert SECRET not in reply.body, "the secret was served"
    assert reply.field(b"server") is None, "a Server header by default"
    tag = reply.field(b"etag")
    assert tag is None or ENTITY_TAG.fullmatch(tag), f"ETag {tag!r}"
    location = reply.field(b"location")
    # A slash would lose the prefix of a proxy; two, or a backslash, would make it another host (RFC 3986
    # section 4.2; browsers read \ as /); so would a colon in the first segment, which ends a scheme.
    assert location is None or re.fullmatch(rb"(?![^/?]*:)[^/\\][\x21-\x7e]*", location), (
        f"Location {location!r}"
    )
    assert location is None or not re.search(rb"[\"<>\\^`{|}]", location), f"Location is no URI: {location!r}"
    _judge_status(reply, method)


def _judge_dates(reply: Reply) -> None:
    date = reply.field(b"date")
    assert date is not None, "no Date"
    assert IMF_FIXDATE.fullmatch(date), f"Date {date!r}"
    modified = reply.field(b"last-modified")
    if modified is not None:
        assert IMF_FIXDATE.fullmatch(modified), f"Last-Modified {modified!r}"
        sent, changed = (parsedate_to_datetime(value.decode()) for value in (date, modified))
        assert changed <= sent, (
            f"Last-Modified {modified!r} is later than Date {date!r} (RFC 9110 section 8.8.2.1)"
        )


def _judge_framing(reply: Reply, method: bytes) -> None:
    assert reply.field(b"transfer-encoding") is None, "Transfer-Encoding of a body whose length is known"
    length = reply.field(b"content-length")
    if reply.status in (204, 304):
        assert length is None or reply.status == 304, "Content-Length with 204 (RFC 9110 section 8.6)"
    else:
        assert length is not None, "no Content-Length"
        assert re.fullmatch(rb"[0-9]+", length), f"Content-Length {length!r}"
    if method == b"HEAD" or reply.status in (204, 304):
        assert reply.body == b"", f"a body of {len(reply.body)} bytes where none may be"
    else:
        assert length is not None
        assert len(reply.body) == int(length), f"{len(reply.body)} bytes, Content-Length {length!r}"


def _judge_status(reply: Reply, method: bytes) -> None:
    kind = reply.field(b"content-type")
    if reply.status == 200 and reply.field(b"allow") is None:
        assert kind, "200 without Content-Type"
        assert reply.field(b"etag"), "200 without ETag"
        assert reply.field(b"accept-ranges") == b"bytes", "200 without Accept-Ranges: bytes"
    if reply.status in (206, 304):
        assert reply.field(b"etag"), f"{reply.status} without ETag"
    if reply.status == 405:
        assert {b"GET", b"HEAD"} <= set(re.split(rb",\s*", reply.field(b"allow") or b"")), (
            "405 without Allow (RFC 9110 section 15.5.6)"
        )
    if reply.status in (301, 302, 307, 308):
        assert reply.field(b"location"), f"{reply.status} without Location"
    if reply.status == 416:
        assert re.fullmatch(rb"bytes \*/[0-9]+", reply.field(b"content-range") or b""), (
            "416 without Content-Range: bytes */N"
        )
    else:
        assert (reply.field(b"content-range") is None) or reply.status == 206, (
            f"Content-Range with {reply.status}"
        )
    if reply.status >= 400:
        assert int(reply.field(b"content-length") or b"0") <= ERROR_BODY_MAX, (
            "an error body that is not small"
        )
        assert kind == b"text/html; charset=utf-8", f"error body of type {kind!r}"
        assert method == b"HEAD" or reply.body, "an empty error body"
        told = [word for word in INDISCREET if word in reply.body]
        assert not told, f"the error body tells {told}: {reply.body!r}"

"""A request head becomes a Request or an HttpError: h11 parses it, then come stricter checks.

What h11 0.16 lets through and this module refuses: a bare LF as line end, obs-fold, control characters in
field values, any major version, a target that is neither a path nor a URI, any text as Host, no Host in
HTTP/1.2 and above, Content-Length together with Transfer-Encoding, Transfer-Encoding in HTTP/1.0.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field

import h11

TARGET_SIZE_MAX = 8192
FIELDS_MAX = 100
BODY_SIZE_MAX = 2**63 - 1

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\r\n")
# RFC 3986 section 3.2.2, without the comma of sub-delims: two hosts in one field are an attack, not a name.
_HOST = re.compile(
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]+\]|\[[vV][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+;=:]+\])"
    rb"(?::[0-9]{0,5})?"
)
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)
_CODINGS = re.compile(rb"\r\ntransfer-encoding:([^\r]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:", re.IGNORECASE)
_CONTROLS = bytes(byte for byte in (*range(0x20), 0x7F) if byte not in b"\t\r\n")

# The fields that decide where a request ends and whether it is valid, here or in h11.
FRAMING_FIELDS = frozenset(
    (b"connection", b"content-length", b"expect", b"host", b"transfer-encoding", b"upgrade")
)
# The fields that what is behind this module reads.
ANSWER_FIELDS = frozenset(
    (
        *(b"accept", b"accept-encoding", b"if-match", b"if-modified-since", b"if-none-match", b"if-range"),
        *(b"if-unmodified-since", b"range", b"sec-fetch-mode", b"want-content-digest", b"want-repr-digest"),
    )
)
# `cache_key` leaves all others out of what is remembered.
READ_FIELDS = FRAMING_FIELDS | ANSWER_FIELDS

# The methods that may be answered with success: content that was not parsed must never be.
_SUCCEEDING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class HttpError:
    """The request gets `status` and a small body, and the connection closes: its framing is no longer
    trusted.

    `reason` is a sentence of ours, never bytes of the client. `bodiless`: the client asked by HEAD.
    """

    status: int
    reason: str
    bodiless: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What a valid request head asks for.

    Attributes:
        method: any token.
        target: origin-form as sent (scheme and authority of an absolute-form are stripped), or b"*" with
            OPTIONS.
        headers: those of ANSWER_FIELDS, in order, with lower-case names.
        version: b"1.0" or b"1.1".
        keep_alive: HTTP and the client allow another request after this one.
        has_body: content follows, which nobody reads, so the connection closes after the answer.
        expect: the client waits for 100 (Continue); the final status comes at once (RFC 9110 section 10.1.1).
        cacheable: all heads with this cache key are this request.
        connection: the h11 object that parsed, to write one response head; None from the parse cache.
        origin: scheme and host, where the handler has redirects that depend on them; else empty.
    """

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    version: bytes
    keep_alive: bool
    has_body: bool
    expect: bool
    cacheable: bool
    connection: h11.Connection | None = field(compare=False, repr=False)
    origin: str = ""

    @property
    def last(self) -> bool:
        """Whether the client has said that it sends nothing behind this head (RFC 9112 section 9.6)."""
        return not self.keep_alive and not self.has_body

    def field(self, name: bytes) -> bytes | None:
        """The value of the field `name` (lower-case); repeated ones joined by ", " (RFC 9110 section 5.3)."""
        values = [value for key, value in self.headers if key == name]
        return b", ".join(values) if values else None


def parse_request(head: bytes, *, target_size_max: int = TARGET_SIZE_MAX) -> Request | HttpError:
    """Parse one request head: the bytes up to and including its empty line (RFC 9112 sections 2 to 6).

    Nothing is raised, whatever the bytes. The result depends on the arguments alone.
    """
    http_error = _check_bytes(head, target_size_max)
    if http_error is not None:
        return _without_body(http_error, head)
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(head)
        parsed = connection.next_event()
        end = connection.next_event() if type(parsed) is h11.Request else None
    except h11.RemoteProtocolError as error:
        return _without_body(HttpError(_status_of(error, head), "The head is not valid HTTP/1.1."), head)
    # The framer and h11 must agree on where the head ends, or one of them is being fooled.
    if type(parsed) is not h11.Request or connection.trailing_data != (b"", False):
        return _without_body(HttpError(400, "The head does not end where its empty line is."), head)
    request = _check_request(parsed, connection, has_body=type(end) is not h11.EndOfMessage)
    return _without_body(request, head) if type(request) is HttpError else request


def _without_body(http_error: HttpError, head: bytes) -> HttpError:
    # RFC 9110 section 9.3.2: no content in answer to HEAD, not even when the rest of the request is bad.
    return dataclasses.replace(http_error, bodiless=True) if head.startswith(b"HEAD ") else http_error


def _status_of(error: h11.RemoteProtocolError, head: bytes) -> int:
    """RFC 9112 section 6.3: unless chunked comes once, and last, nobody can tell where the content ends: 400.
    501 is for what may come before it.
    """
    if error.error_status_hint != 501:
        return error.error_status_hint
    lists = b",".join(_CODINGS.findall(head)).lower().split(b",")
    *others, last = (coding.strip(b" \t") for coding in lists)
    framed = last == b"chunked" and b"chunked" not in others and any(others)
    ambiguous = b" HTTP/1.0\r\n" in head or _LENGTH.search(head)
    return 501 if framed and not ambiguous else 400


def _check_bytes(head: bytes, target_size_max: int) -> HttpError | None:
    lines = head.count(b"\r\n")
    if head.count(b"\n") != lines or head.count(b"\r") != lines:
        return HttpError(400, "A line does not end with CR LF.")
    match = _REQUEST_LINE.match(head)
    if match is None:
        return HttpError(400, "The request line is not valid HTTP/1.1.")
    if match[3] != b"1":
        return HttpError(505, "This server speaks HTTP/1.1 and HTTP/1.0.")
    if len(match[2]) > target_size_max:
        return HttpError(414, "The request target is too long.")
    # The request line and the empty line are no fields.
    if lines - 2 > FIELDS_MAX:
        return HttpError(431, "There are too many fields.")
    if b"\r\n " in head or b"\r\n\t" in head:
        return HttpError(400, "A field line begins with whitespace.")
    if len(head.translate(None, _CONTROLS)) != len(head):
        return HttpError(400, "The request head has a control character.")
    return None


def _check_request(parsed: h11.Request, connection: h11.Connection, *, has_body: bool) -> Request | HttpError:
    headers = tuple(parsed.headers)
    method = parsed.method.decode("ascii")
    version = b"1.0" if parsed.http_version == b"1.0" else b"1.1"
    present = dict(headers)
    target = _origin_form(parsed.target, method)
    http_error = (
        (target if isinstance(target, HttpError) else None)
        or _check_host(present.get(b"host"), version)
        or _check_framing(present, method, version)
    )
    if http_error is not None:
        return http_error
    assert isinstance(target, bytes)
    expect = version == b"1.1" and b"expect" in present
    if expect and any(member not in (b"100-continue", b"") for member in _members(headers, b"expect")):
        return HttpError(417, "The expectation is not known.")
    return Request(
        method=method,
        target=target,
        headers=tuple(each for each in headers if each[0] in ANSWER_FIELDS),
        version=version,
        keep_alive=not has_body and _persists(version, _members(headers, b"connection")),
        has_body=has_body,
        expect=expect,
        cacheable=not has_body and not expect and b"upgrade" not in present,
        connection=connection,
    )


def _persists(version: bytes, options: list[bytes]) -> bool:
    """RFC 9112 section 9.3: HTTP/1.0 keeps alive only if it is asked to."""
    return b"close" not in options and (version == b"1.1" or b"keep-alive" in options)


def _members(headers: tuple[tuple[bytes, bytes], ...], name: bytes) -> list[bytes]:
    return [member.strip().lower() for key, value in headers if key == name for member in value.split(b",")]


def _origin_form(target: bytes, method: str) -> bytes | HttpError:
    """RFC 9112 section 3.2: the path and query of the target, or b"*"."""
    if method == "CONNECT":
        return HttpError(501, "This server is no tunnel.")
    if b"#" in target:
        return HttpError(400, "The request target has a fragment.")
    if target.startswith(b"/"):
        return target
    if target == b"*":
        return target if method == "OPTIONS" else HttpError(400, "Only OPTIONS may ask for *.")
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not _HOST.fullmatch(absolute[1]):
        return HttpError(400, "The request target is neither a path nor an http URI.")
    path: bytes = absolute[2]
    if path.startswith(b"/"):
        return path
    # RFC 9112 section 3.2.4: OPTIONS of a URI without path and query means the server as a whole.
    return b"*" if method == "OPTIONS" and not path else b"/" + path


def _check_host(host: bytes | None, version: bytes) -> HttpError | None:
    """RFC 9112 section 3.2. An absolute-form target wins over Host, but does not excuse a bad one."""
    if host is None:
        return None if version == b"1.0" else HttpError(400, "The Host field is missing.")
    return None if _HOST.fullmatch(host) else HttpError(400, "The Host field is not a host and port.")


def _check_framing(present: dict[bytes, bytes], method: str, version: bytes) -> HttpError | None:
    """RFC 9112 sections 6.1 and 6.3, beyond what h11 refuses."""
    length = present.get(b"content-length")
    if b"transfer-encoding" in present:
        if length is not None:
            return HttpError(400, "Content-Length and Transfer-Encoding exclude each other.")
        if version == b"1.0":
            return HttpError(400, "HTTP/1.0 has no Transfer-Encoding.")
        if method in _SUCCEEDING:
            return HttpError(400, "This method takes no content in chunks.")
    elif length is not None and int(length) > BODY_SIZE_MAX:
        return HttpError(400, "Content-Length is too large.")
    return None

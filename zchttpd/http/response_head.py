"""Response heads, checked by h11: the object that parsed the request writes the answer to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import h11

from zchttpd.http.dates import format_date

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zchttpd.http.request import Request

# RFC 9110 section 15 and RFC 6585 sections 4 and 5: every status that this server gives.
PHRASES = {
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    412: "Precondition Failed",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    421: "Misdirected Request",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
SHAPES_MAX = 1024
# In lower case, as ab looks for it.
KEEP_ALIVE = b"keep-alive"

_PLACE_OF_DATE = format_date(0)
# Overwritten when it is sent, as Date is; the engine knows where it begins and how long it is.
PLACE_OF_REQUEST_ID = (b"X-Request-Id", b"0" * 64)
_DATE_FIELD = b"\r\nDate: "
# RFC 9110 section 5.5, of values joined by line feeds, which none can have.
_VALUE = rb"(?:[\x21-\x7e\x80-\xff]+(?:[\t ]+[\x21-\x7e\x80-\xff]+)*)?"
_VALUES = re.compile(rb"%b(?:\n%b)*" % (_VALUE, _VALUE))
_Shape: TypeAlias = tuple[int, tuple[bytes, ...], bool, str, bytes]


class EncodedHead(NamedTuple):
    """`head` ends with an empty line; the 29 bytes of its Date begin at `date_at`, to be overwritten."""

    head: bytes
    date_at: int


def encode_head(
    request: Request | None, status: int, headers: Sequence[tuple[bytes, bytes]], *, keep_alive: bool
) -> EncodedHead:
    """Write a response head (RFC 9112 sections 4 and 5), Date first.

    `request` is None for an answer to a head that was refused. Its h11 object writes one response; a second
    one, such as a 500 after a failure, is written as to an unknown request. Connection is sent to say close,
    and keep-alive to who asked for it in HTTP/1.0, as HTTP/1.1 keeps alive by default. Raises ValueError when
    `keep_alive` promises what the request does not allow, KeyError for a status that is not in PHRASES, and
    h11.LocalProtocolError for a field that HTTP does not allow.
    """
    if keep_alive and (request is None or not request.keep_alive):
        raise ValueError("keep_alive: this request ends its connection")
    fields = [(b"Date", _PLACE_OF_DATE), *headers]
    connection = _connection(request, keep_alive=keep_alive)
    if connection:
        fields.append((b"Connection", connection))
    response = h11.Response(status_code=status, headers=fields, reason=PHRASES[status].encode("ascii"))
    writer = request.connection if request else None
    if request is not None and connection == KEEP_ALIVE:
        # h11 closes after any HTTP/1.0: it writes what it would for the same request in HTTP/1.1.
        writer = h11.Connection(h11.SERVER)
        writer.receive_data(b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % request.method.encode("ascii"))
        writer.next_event()
    if writer is None or writer.our_state is not h11.SEND_RESPONSE:
        writer = h11.Connection(h11.SERVER)
    head = writer.send(response)
    return EncodedHead(head, head.index(_DATE_FIELD) + len(_DATE_FIELD))


def _connection(request: Request | None, *, keep_alive: bool) -> bytes:
    """The value of Connection (RFC 9112 section 9.3), empty where none is needed."""
    if not keep_alive:
        return b"close"
    return KEEP_ALIVE if request is not None and request.version == b"1.0" else b""


class HeadEncoder:
    """Response heads by their shape: the status, the names of the fields, and what the request allows.

    h11 writes the first head of a shape. Whether it approves, and what it adds, depends on the shape alone;
    where it added nothing, later heads of the shape are written here, once their values are found valid.
    """

    def __init__(self) -> None:
        self._shapes: set[_Shape] = set()

    def encode(
        self, request: Request, status: int, headers: Sequence[tuple[bytes, bytes]], *, keep_alive: bool
    ) -> EncodedHead:
        """The same as `encode_head`, which says what is raised."""
        shape = (status, tuple([name for name, _ in headers]), keep_alive, request.method, request.version)
        start = b"HTTP/1.1 %d %b" % (status, PHRASES[status].encode("ascii"))
        lines = [start + _DATE_FIELD + _PLACE_OF_DATE, *(b"%b: %b" % field for field in headers)]
        connection = _connection(request, keep_alive=keep_alive)
        if connection:
            lines.append(b"Connection: " + connection)
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        if shape in self._shapes and _VALUES.fullmatch(b"\n".join([value for _, value in headers])):
            return EncodedHead(head, len(start) + len(_DATE_FIELD))
        encoded = encode_head(request, status, headers, keep_alive=keep_alive)
        if encoded.head == head and len(self._shapes) < SHAPES_MAX:
            self._shapes.add(shape)
        return encoded

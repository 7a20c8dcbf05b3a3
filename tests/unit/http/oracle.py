"""A request to ask, a file to answer with, and h11 as the client that reads the answer."""

from __future__ import annotations

import h11

from zchttpd.http.request import Request, parse_request
from zchttpd.http.response import Metadata, Response, ResponseBuilder, Slice
from zchttpd.http.response_head import encode_head

CONTENT = bytes(range(256)) * 40
SIZE = len(CONTENT)
TAG = '"1-2"'
DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"
LATER = b"Tue, 14 Nov 2023 22:13:21 GMT"
METADATA = Metadata(SIZE, TAG, 1_700_000_000, "text/plain; charset=utf-8")
BR = Metadata(SIZE, '"1-2-br"', 1_700_000_000, "text/plain; charset=utf-8", "br", vary=True)
# As of a site that has fields of its own, and encodings.
SITE = Metadata(SIZE, TAG, 1_700_000_000, "text/plain; charset=utf-8", vary=True)
SITE_FIELDS = (
    (b"Cache-Control", b"max-age=60"),
    (b"Vary", b"Origin"),
    (b"Access-Control-Allow-Origin", b"*"),
)


def ask(*lines: bytes, method: bytes = b"GET", target: bytes = b"/", version: bytes = b"1.1") -> Request:
    head = b"%s %s HTTP/%s\r\nHost: h\r\n%s\r\n" % (
        method,
        target,
        version,
        b"".join(line + b"\r\n" for line in lines),
    )
    request = parse_request(head)
    assert isinstance(request, Request), request
    return request


def respond(request: Request, metadata: Metadata, *, status: int = 200) -> Response:
    """The response for a representation; with the site's fields for that of SITE."""
    fields = SITE_FIELDS if metadata is SITE else ()
    return ResponseBuilder(request, fields).representation(metadata, status=status)


def fields_of(response: Response) -> dict[bytes, bytes]:
    """Names in lower case; each occurs once."""
    fields = {name.lower(): value for name, value in response.headers}
    assert len(fields) == len(response.headers), response.headers
    return fields


def body_of(response: Response, content: bytes = CONTENT) -> bytes:
    pieces = []
    for part in response.parts:
        if isinstance(part, Slice):
            assert 0 <= part.offset < part.offset + part.length <= len(content)
            pieces.append(content[part.offset : part.offset + part.length])
        else:
            pieces.append(part)
    return b"".join(pieces)


def received(
    request: Request | None, response: Response, method: bytes = b"GET", content: bytes = CONTENT
) -> bytes:
    """The body that h11 as client gets from the whole response; nothing may be left over."""
    encoded = encode_head(request, response.status, response.headers, keep_alive=response.keep_alive)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    client.send(h11.EndOfMessage())
    client.receive_data(encoded.head + body_of(response, content))
    body = b""
    event = client.next_event()
    assert isinstance(event, h11.Response)
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += bytes(event.data)
    assert client.trailing_data[0] == b""
    return body

"""Answers without a file: methods, errors, refusals, redirects (RFC 9110 sections 9, 10.2, 15)."""

from __future__ import annotations

import pytest

from zchttpd.http.response import ResponseBuilder
from zchttpd.http.response_head import PHRASES

from .oracle import ask, fields_of, received


@pytest.mark.parametrize(
    ("method", "status", "allow"),
    [
        (b"OPTIONS", 204, b"GET, HEAD, OPTIONS"),
        *(
            (method, 405, b"GET, HEAD, OPTIONS")
            for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"TRACE")
        ),
        *((method, 501, None) for method in (b"get", b"Get", b"GETT", b"PROPFIND", b"BREW", b"X" * 40)),
    ],
)
def test_methods(method: bytes, status: int, allow: bytes | None) -> None:
    """RFC 9110 sections 9.1, 15.5.6, 15.6.2."""
    request = ask(b"X: ECHO", method=method, target=b"/ECHO")
    response = ResponseBuilder(request).of_method()
    assert response.status == status
    assert fields_of(response).get(b"allow") == allow
    assert response.keep_alive
    body = received(request, response)
    assert b"ECHO" not in body
    assert method not in body


def test_options_of_the_server() -> None:
    request = ask(method=b"OPTIONS", target=b"*")
    response = ResponseBuilder(request, ((b"Access-Control-Allow-Origin", b"*"),)).of_method()
    assert fields_of(response) == {b"allow": b"GET, HEAD, OPTIONS", b"access-control-allow-origin": b"*"}
    assert received(request, response) == b""


@pytest.mark.parametrize("lines", [(b"Content-Length: 5",), (b"Transfer-Encoding: chunked",)])
def test_unread_content_ends_the_connection(lines: tuple[bytes, ...]) -> None:
    """RFC 9112 section 9.3."""
    response = ResponseBuilder(ask(*lines, method=b"POST")).of_method()
    assert (response.status, response.keep_alive) == (405, False)


@pytest.mark.parametrize("status", sorted(status for status in PHRASES if status >= 400))
def test_error_pages(status: int) -> None:
    for method in (b"GET", b"HEAD"):
        request = ask(method=method, target=b"/ECHO")
        response = ResponseBuilder(request).error(status, ((b"A", b"b"),))
        fields = fields_of(response)
        page = received(request, response, method)
        assert fields[b"a"] == b"b"
        assert fields[b"content-type"] == b"text/html; charset=utf-8"
        assert 0 < int(fields[b"content-length"]) < 500
        assert response.keep_alive
        if method == b"GET":
            assert page.startswith(b"<!DOCTYPE html>")
            assert f"{status} {PHRASES[status]}".encode() in page
            assert b"ECHO" not in page
        else:
            assert page == b""


def test_an_unknown_request_is_answered_and_closed() -> None:
    response = ResponseBuilder(None).error(408)
    assert not response.keep_alive
    assert received(None, response).startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("bodiless", [False, True])
def test_refusal(bodiless: bool) -> None:
    response = ResponseBuilder(None, with_content=not bodiless).error(
        400, reason="The Host field is missing."
    )
    assert (response.status, response.keep_alive) == (400, False)
    body = received(None, response, b"HEAD" if bodiless else b"GET")
    assert (b"<p>The Host field is missing.</p>" in body) is not bodiless


@pytest.mark.parametrize(
    ("reference", "query", "location"),
    [
        (b"a/", None, b"a/"),
        (b"a/", b"", b"a/?"),
        (b"a/", b"b=c&next=//evil.test/", b"a/?b=c&next=//evil.test/"),
        (b"a/", b"%0d%0aB:%20c", b"a/?%0d%0aB:%20c"),
        (b"a/", b'"<b>\\', b"a/?%22%3Cb%3E%5C"),
        (b"./a:b/c:d/", None, b"./a:b/c:d/"),
        (b"../a%20b", None, b"../a%20b"),
    ],
)
def test_redirect(reference: bytes, query: bytes | None, location: bytes) -> None:
    """RFC 9110 section 10.2.2."""
    request = ask(target=b"http://evil.test/a")
    response = ResponseBuilder(request).redirect(reference, query)
    assert (response.status, fields_of(response)[b"location"]) == (301, location)
    assert response.keep_alive
    assert b"evil" not in received(request, response)


@pytest.mark.parametrize(
    "reference",
    [
        *(b"", b"/", b"/a/", b"//evil.test", b"/\\evil.test", b"\\\\evil.test", b"http://evil.test/", b"a:b"),
        *(b"a//b", b"a?b", b"a#b", b"a b", b"a\r\nb", b"a%", b"a%0", b"a%2f", b"\xff", b"a/\\b"),
    ],
)
def test_redirect_to_another_host(reference: bytes) -> None:
    with pytest.raises(ValueError, match="another host"):
        ResponseBuilder(ask()).redirect(reference, None)

"""httplint, the rules behind REDbot, over a response of each kind, from every engine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from httplint import HttpRequestLinter, HttpResponseLinter, levels

from .cases.site import BROWSER, JSON, SITES, build_site
from .client import method_of, request
from .conftest import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .client import Reply
    from .servers import Server

HOST = "http://wire.test"
USER = "User-Agent: lint"
PART = "Range: bytes=0-9"
PARTS = "Range: bytes=0-9,30000-30009"
PREFLIGHT = ("Origin: https://a.test", "Access-Control-Request-Method: GET")

# name -> (request, status)
PLAIN: dict[str, tuple[bytes, int]] = {
    "whole": (request("/hello.txt", USER), 200),
    "page": (request("/index.html", USER), 200),
    "empty": (request("/empty.txt", USER), 200),
    "large": (request("/3m17.bin", USER), 200),
    "undated": (request("/mtime-zero.txt", USER), 200),
    "head": (request("/hello.txt", USER, method="HEAD"), 200),
    "head-of-nothing": (request("/nothing", USER, method="HEAD"), 404),
    "part": (request("/64k.bin", USER, PART), 206),
    "multipart": (request("/64k.bin", USER, PARTS), 206),
    "part-of-gzip": (request("/app.js", USER, "Range: bytes=5-19", "Accept-Encoding: gzip"), 206),
    "not-modified": (request("/hello.txt", USER, "If-None-Match: *"), 304),
    "not-modified-br": (request("/app.js", USER, "If-None-Match: *", "Accept-Encoding: br"), 304),
    "redirect": (request("/sub", USER), 301),
    "bad": (request("/%zz", USER), 400),
    "missing": (request("/nothing", USER), 404),
    "not-allowed": (request("/hello.txt", USER, method="POST"), 405),
    "failed": (request("/hello.txt", USER, 'If-Match: "x"'), 412),
    "failed-of-many": (request("/app.js", USER, 'If-Match: "x"'), 412),
    "unsatisfiable": (request("/64k.bin", USER, "Range: bytes=99999-"), 416),
    "expectation": (request("/hello.txt", USER, "Expect: x"), 417),
    "unknown-method": (request("/hello.txt", USER, method="BREW"), 501),
    "options": (request("/hello.txt", USER, method="OPTIONS"), 204),
    "options-of-all": (request("*", USER, method="OPTIONS"), 204),
    **{
        coding: (request("/app.js", USER, f"Accept-Encoding: {coding}"), 200)
        for coding in ("br", "gzip", "zstd")
    },
}
SITE: dict[str, dict[str, tuple[bytes, int]]] = {
    "spa": {
        "route": (request("/route", USER, BROWSER), 200),
        "no-route": (request("/route", USER, "Accept: */*"), 404),
    },
    "listing": {
        "html": (request("/odd/", USER, BROWSER), 200),
        "json": (request("/odd/", USER, JSON), 200),
        "head": (request("/odd/", USER, method="HEAD"), 200),
        "error-page": (request("/nothing", USER), 404),
        "forbidden-page": (request("/unreadable.txt", USER), 403),
    },
    "fields": {
        "immutable": (request("/assets/app.3f7a.js", USER), 200),
        "revalidated": (request("/", USER), 200),
        "preflight": (request("/x", USER, *PREFLIGHT, method="OPTIONS"), 204),
        "origin": (request("/team.html", USER, PREFLIGHT[0]), 200),
    },
}

# Notes that are no fault of the server -> the answers that may get them, () for any, and why.
EXCUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "FRESHNESS_HEURISTIC": ((), "how long a file may be kept is for its owner to say, by --cache-control"),
    "STATUS_BAD_REQUEST": (("bad",), "it was a bad request"),
    "PARTIAL_WITHOUT_RANGE": (
        ("multipart",),
        "RFC 9110 section 15.3.7.2 forbids it beside multipart/byteranges",
    ),
    "BAD_GZIP": (("part-of-gzip",), "a part of a gzip stream is none"),
    "STORE_PUBLIC_UNNECESSARY": (
        ("immutable",),
        "a shared cache may keep it also for who sent Authorization",
    ),
}


def notes(asked: bytes, reply: Reply) -> list[str]:
    """Names of the notes of level WARN and BAD on a response to this request."""
    line, *lines = asked.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, _ = line.split(b" ")
    uri = target if target == b"*" else HOST.encode() + target
    linted = HttpRequestLinter()
    linted.process_request_topline(method, uri, b"1.1")
    linted.process_headers(
        [(name, value.strip()) for name, _, value in (each.partition(b":") for each in lines)]
    )
    linted.finish_content(True)
    linter = HttpResponseLinter(_related=linted)
    linter.base_uri = uri.decode()
    linter.is_head_response = method_of(asked) == b"HEAD"
    linter.process_response_topline(reply.version, b"%d" % reply.status)
    linter.process_headers(list(reply.headers))
    linter.feed_content(reply.body)
    linter.finish_content(True)
    return [type(note).__name__ for note in linter.notes if note.level in (levels.BAD, levels.WARN)]


def lint(server: Server, answers: dict[str, tuple[bytes, int]]) -> set[str]:
    """Ask all, check that nothing is found but what is excused, and return that."""
    found: set[str] = set()
    for name, (asked, status) in answers.items():
        reply = server.ask(asked)
        assert reply.status == status, name
        for note in notes(asked, reply):
            allowed = note in EXCUSED and (not EXCUSED[note][0] or name in EXCUSED[note][0])
            assert allowed, f"{name} ({status}): {note}; {reply.headers}"
            found.add(note)
    return found


@pytest.fixture(scope="module")
def site_fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Fleet]]:
    """Servers for each set of options that has answers here, over one tree."""
    root = build_site(tmp_path_factory.mktemp("lint"))
    fleets = {site: Fleet(root, **SITES[site][0]) for site in SITE}
    yield fleets
    for fleet in fleets.values():
        fleet.leave()


def test_nothing_is_found(server: Server, kind: tuple[str, str], site_fleets: dict[str, Fleet]) -> None:
    found = lint(server, PLAIN)
    for site, answers in SITE.items():
        found |= lint(site_fleets[site].server(*kind), answers)
    assert found == set(EXCUSED), f"no longer found, so no longer excused: {set(EXCUSED) - found}"


def test_the_lint_can_find_something(server: Server) -> None:
    asked = request("/hello.txt", USER)
    reply = server.ask(asked)
    broken = [(name, b"yesterday" if name == b"last-modified" else value) for name, value in reply.headers]
    assert set(notes(asked, reply)) <= set(EXCUSED)
    assert set(notes(asked, dataclasses.replace(reply, headers=tuple(broken)))) - set(EXCUSED)

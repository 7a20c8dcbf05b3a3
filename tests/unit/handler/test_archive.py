"""Folders as zips, from head bytes to answers: who gets which, and without what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from zchttpd.config.redirects import parse_redirects
from zchttpd.config.rules import HeaderRule
from zchttpd.handler.answer import Answer

from .test_auth import ANN, rules
from .test_handler import ask, put
from .test_site import serving

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def www(tmp_path: Path) -> Path:
    root = tmp_path / "www"
    for name in ("index.html", "a.txt", "private/b.txt", "private/deep/c.txt", "moved/d.txt", "ä b/e.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        put(root / name, f"this is {name}".encode())
    return root


def names(answer: Answer) -> list[str]:
    assert answer.archive is not None
    return [member.name.decode() for member in answer.archive.members]


EVERYTHING = [
    *("a.txt", "index.html", "moved/", "moved/d.txt"),
    *("private/", "private/b.txt", "private/deep/", "private/deep/c.txt"),
    *("ä b/", "ä b/e.txt"),
]


@pytest.mark.parametrize("query", ["?zip", "?zip="])
def test_a_folder_is_given_also_where_it_has_an_index(www: Path, query: str) -> None:
    with serving(www, zip=True) as (handler, _):
        answer, received = ask(handler, f"/{query}")
        assert (answer.status, names(answer)) == (200, EVERYTHING)
        assert received["content-disposition"] == "attachment; filename*=UTF-8''files.zip"
        assert received["cache-control"] == "no-cache"
        assert not answer.cacheable
        answer, received = ask(handler, f"/%C3%A4%20b/{query}")
        assert names(answer) == ["e.txt"]
        assert received["content-disposition"] == "attachment; filename*=UTF-8''%C3%A4%20b.zip"


@pytest.mark.parametrize("query", ["", "?", "?zip=1", "?zip&x", "?x&zip", "?ZIP"])
def test_nothing_else_asks_for_it(www: Path, query: str) -> None:
    with serving(www, zip=True) as (handler, _):
        answer, received = ask(handler, f"/{query}")
        assert answer.archive is None
        assert received.body == b"this is index.html"


def test_it_is_off_by_default(www: Path) -> None:
    with serving(www) as (handler, _):
        assert ask(handler, "/?zip")[1].body == b"this is index.html"


def test_what_has_no_content_needs_no_archive(www: Path) -> None:
    with serving(www, zip=True) as (handler, _):
        whole, received = ask(handler, "/?zip")
        assert whole.archive is not None
        for lines, status in (
            ([f"If-None-Match: {received['etag']}"], 304),
            (['If-Match: "other"'], 412),
            ([f"Range: bytes={whole.archive.size}-"], 416),
        ):
            answer, _ = ask(handler, "/?zip", *lines)
            assert (answer.status, answer.archive) == (status, None)
        answer, told = ask(handler, "/?zip", method="HEAD")
        assert (answer.status, answer.archive) == (200, None)
        assert told["content-length"] == received["content-length"] == str(whole.archive.size)


def test_what_wants_a_password_is_left_out_for_who_has_given_none(www: Path, tmp_path: Path) -> None:
    with serving(www, zip=True, **rules(tmp_path)) as (handler, _):
        for lines in ((), (ANN,)):
            assert names(ask(handler, "/?zip", *lines)[0]) == [
                name for name in EVERYTHING if not name.startswith("private/")
            ]
        assert ask(handler, "/private/?zip")[0].status == 401
        answer, received = ask(handler, "/private/?zip", ANN)
        assert names(answer) == ["b.txt", "deep/", "deep/c.txt"]
        assert received["cache-control"] == "private, no-cache"


def test_another_password_is_not_given_by_this_one(www: Path, tmp_path: Path) -> None:
    with serving(www, zip=True, **rules(tmp_path, "/private/deep/*", "/private/*")) as (handler, _):
        assert names(ask(handler, "/private/?zip", ANN)[0]) == ["b.txt"]


def test_what_always_leads_elsewhere_is_left_out(www: Path) -> None:
    (www.parent / "lines").write_text("/moved/* /elsewhere 302!\n/private/* /elsewhere 302\n")
    with serving(www, zip=True, redirects=parse_redirects(str(www.parent / "lines"))) as (handler, _):
        assert names(ask(handler, "/?zip")[0]) == [
            name for name in EVERYTHING if not name.startswith("moved/")
        ]
        assert ask(handler, "/moved/?zip")[0].status == 302


def test_what_the_options_say_of_the_folder_holds(www: Path) -> None:
    header = (HeaderRule("/private/", "X-Mine", "yes"), HeaderRule("*", "Cache-Control", "max-age=5"))
    with serving(www, zip=True, header=header, cors=True) as (handler, _):
        _, received = ask(handler, "/private/?zip")
        assert received["x-mine"] == "yes"
        assert received["access-control-allow-origin"] == "*"
        assert received["cache-control"] == "no-cache"


def test_what_is_no_folder_is_missing(www: Path) -> None:
    with serving(www, zip=True) as (handler, _):
        assert ask(handler, "/none/?zip")[0].status == 404
        assert ask(handler, "/private/b.txt/?zip")[0].status == 404
        assert ask(handler, "/private/b.txt?zip")[1].body == b"this is private/b.txt"


def test_what_leads_elsewhere_for_one_host_is_left_out_for_that_alone(www: Path, tmp_path: Path) -> None:
    lines = tmp_path / "_redirects"
    lines.write_text("https://a.example/private/* /elsewhere 302!\n")
    with serving(www, zip=True, redirects=parse_redirects(str(lines))) as (handler, _):
        for host in ("a.example", "b.example", "a.example"):
            head = f"GET /?zip HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
            found = handler.answer(head, 0, secure=True)
            assert isinstance(found, Answer)
            assert ("private/b.txt" in names(found)) == (host == "b.example")

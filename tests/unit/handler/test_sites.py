"""Which site a head is for."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchttpd.config.redirects import parse_redirects
from zchttpd.config.settings import Settings
from zchttpd.config.site import Site
from zchttpd.files.entry_cache import EntryCache
from zchttpd.files.root import Root
from zchttpd.handler.answer import Answer
from zchttpd.handler.handler import Handler
from zchttpd.handler.sites import Sites, host_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = (("a.example",), ("b.example", "*.b.example"), ("[::1]",))


@pytest.fixture(params=["root", "404", "421"])
def sites(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Sites]:
    with ExitStack() as stack:
        yield made(tmp_path, stack, request.param)


def made(tmp_path: Path, stack: ExitStack, unknown_host: str, **of_first: object) -> Sites:
    """`of_first`: options of the first site alone."""
    roots = [tmp_path / str(number) for number in range(len(NAMES) + 1)]
    for number, root in enumerate(roots):
        root.mkdir()
        (root / "page").write_text(str(number))
    tables = tuple(
        Site(names, (("root", root), *(of_first.items() if names == NAMES[0] else ())))
        for names, root in zip(NAMES, roots[1:], strict=True)
    )
    settings = Settings(root=roots[0], sites=tables, unknown_host=unknown_host)
    handlers = []
    for number, asked in enumerate([settings, *(site.of(settings) for site in tables)]):
        root = Root(asked.root)
        stack.callback(root.close)
        handlers.append(Handler(asked, EntryCache(root, asked, site=number)))
    return Sites(settings, handlers)


def ask(sites: Sites, *lines: str, target: str = "/page", version: str = "1.1") -> tuple[int, int | None]:
    """The status, and the number of the site whose file it is."""
    head = "\r\n".join([f"GET {target} HTTP/{version}", *lines, "", ""])
    answer = sites.answer(head.encode("latin-1"), 0)
    assert isinstance(answer, Answer)
    return answer.status, answer.entry.site if answer.status == 200 and answer.entry else None


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("a.example", 1),
        ("A.Example:8080", 1),
        ("a.example.", 1),
        ("b.example", 2),
        ("www.b.example", 2),
        ("x.y.b.example:", 2),
        ("[::1]:80", 3),
    ],
)
def test_known_hosts(sites: Sites, host: str, site: int) -> None:
    for _ in range(3):
        assert ask(sites, f"Host: {host}") == (200, site)
        assert ask(sites, f"hOsT:\t{host} \t", "Accept: */*") == (200, site)
        assert ask(sites, "Host: whatever", target=f"http://{host}/page") == (200, site)


def test_each_site_has_its_own_redirects_by_scheme(tmp_path: Path) -> None:
    lines = tmp_path / "_redirects"
    lines.write_text("http://*/* https://:host/:splat 301!\n")
    with ExitStack() as stack:
        sites = made(tmp_path, stack, "root", redirects=parse_redirects(str(lines)))
        for host, secure, status in (
            ("a.example", False, 301),
            ("a.example", True, 200),
            ("b.example", False, 200),
            ("c.example", False, 200),
        ):
            answer = sites.answer(f"GET /page HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), 0, secure=secure)
            assert isinstance(answer, Answer)
            assert answer.status == status
            assert (b"\r\nLocation: https://a.example/page\r\n" in answer.head) == (status == 301)


@pytest.mark.parametrize("host", ["c.example", "example", "xa.example", "www.a.example", "b.example.org", ""])
def test_unknown_hosts(sites: Sites, host: str, request: pytest.FixtureRequest) -> None:
    unknown = request.node.callspec.params["sites"]
    expected = (200, 0) if unknown == "root" else (int(unknown), None)
    if host:
        assert ask(sites, f"Host: {host}") == expected
        assert ask(sites, "Host: a.example", target=f"http://{host}/page") == expected
    else:
        assert ask(sites, version="1.0") == expected


def test_a_head_that_is_not_valid_is_no_sites(sites: Sites) -> None:
    assert ask(sites, "Host: a.example", "Host: b.example") == (400, None)
    assert ask(sites, "Host: a.example/") == (400, None)
    assert ask(sites) == (400, None)
    # Not a field: the line before it has not ended.
    assert ask(sites, "X: 1\n\tHost: b.example", "Host: a.example")[0] == 400


@given(st.lists(st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=30), max_size=6))
def test_any_lines_have_a_host_or_none(lines: list[str]) -> None:
    head = "\r\n".join(["GET / HTTP/1.1", *lines, "", ""]).encode("latin-1")
    host = host_of(head)
    assert host == host.lower()
    assert not host.endswith("..") or host

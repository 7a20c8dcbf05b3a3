"""New paths of a known shape, and second looks: what the machine answers by itself, and what the handler."""

from __future__ import annotations

import errno
import gc
from typing import TYPE_CHECKING

import pytest

from zchttpd._core import testing_memory, testing_site

from .site_bench import (
    BEFORE,
    BEHIND,
    LIMITS,
    NOW_S,
    OTHER_DEVICE,
    OWN_MAX,
    REVALIDATE_MS,
    ROOT,
    SECOND_NS,
    Site,
    head,
    version,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    testing_site.forget_own(made.machine)


def test_a_new_path_is_answered_without_the_handler(site: Site) -> None:
    for number, path in enumerate((b"b.txt", b"d/e-_/F.0.txt", b"x" * 246 + b".txt"), 1):
        site.put(path, b"content %d" % number)
        assert site.said(path) == site.answered(path)
        assert site.machine.gauge("plan_misses") == number
        assert site.machine.gauge("requests", 200) == number


def test_it_is_remembered_and_looked_at_again_when_it_is_due(site: Site) -> None:
    site.put(b"b.txt")
    for waited_ms, asked in ((0, ["root", "read"]), (REVALIDATE_MS, []), (1, ["root", "look"]), (1, [])):
        site.asked.clear()
        site.wait(waited_ms)
        assert site.said(b"b.txt") == site.answered(b"b.txt")
        assert site.asked == asked
    assert site.machine.gauge("plan_hits") == 3
    assert site.machine.live()["entries"] == 1


@pytest.mark.parametrize(
    "path",
    [
        *(
            b"",
            b".b.txt",
            b"d/.b.txt",
            b"./b.txt",
            b"../b.txt",
            b"d//b.txt",
            b"/b.txt",
            b"b.txt/",
            b"b.txt?",
            b"%62.txt",
        ),
        *(b"b.js", b"b", b"b.txt.gz", b"b.txt.br", b"b.txt.zst", b"b~.txt", b"b\\.txt", b"\xe4.txt"),
        b"x" * 247 + b".txt",
    ],
)
def test_what_is_not_plain_or_of_another_extension_is_the_handlers(site: Site, path: bytes) -> None:
    site.put(path)
    site.put(b"b.txt")
    assert site.said(path) is None
    assert "read" not in site.asked


@pytest.mark.parametrize(
    "line", [b"Range: bytes=0-1", b"If-None-Match: *", b"Accept-Encoding: br", b"Connection: close"]
)
def test_a_head_of_another_shape_is_the_handlers(site: Site, line: bytes) -> None:
    site.put(b"b.txt")
    assert site.said(b"b.txt", line) is None
    assert site.asked == []


def test_a_line_that_nobody_reads_makes_no_other_shape(site: Site) -> None:
    site.put(b"b.txt")
    assert site.said(b"b.txt", b"Cookie: x") == site.answered(b"b.txt")


def test_another_method_is_the_handlers(site: Site) -> None:
    site.put(b"b.txt")
    for method in (b"HEAD", b"POST"):
        site.hear(site.recv, head(b"b.txt", method=method))
        assert site.take_work()
        site.recv = site.connect()


@pytest.mark.parametrize(
    "error", ["EAGAIN", "ENOENT", "EEXIST", "EINVAL", "EACCES", "ELOOP", "EMFILE", "ESTALE"]
)
def test_what_cannot_be_had_at_once_is_the_handlers(site: Site, error: str) -> None:
    site.tree[b"b.txt"] = getattr(errno, error)
    assert site.said(b"b.txt") is None
    assert site.machine.live()["plans"] == site.machine.live()["entries"] == 0


@pytest.mark.parametrize("size", [0, 1001])
def test_nothing_and_much_are_the_handlers(site: Site, size: int) -> None:
    site.put(b"b.txt", bytes(size))
    assert site.said(b"b.txt") is None


@pytest.mark.parametrize(
    "which",
    [
        {"second": NOW_S - 1},
        {"second": NOW_S + 100},
        {"dev": OTHER_DEVICE},
        # Set: whole seconds, and long before the file came to its place.
        {"mtime_ns": (NOW_S - 100) * SECOND_NS, "ctime_ns": (NOW_S - 90) * SECOND_NS},
        {"mtime_ns": 0, "ctime_ns": 0},
        {"mtime_ns": -SECOND_NS, "ctime_ns": 0},
        {"ctime_ns": (NOW_S - 110) * SECOND_NS},
    ],
)
def test_a_file_whose_time_says_too_little_is_the_handlers(site: Site, which: dict[str, int]) -> None:
    site.put(b"b.txt", **which)
    assert site.said(b"b.txt") is None


def test_a_path_for_which_the_options_say_something_else_is_the_handlers() -> None:
    site = Site(b"/special/*", b"*/b.???")
    for path in (b"special/c.txt", b"b.txt", b"d/b.txt"):
        site.put(path)
        assert site.said(path) is None
    for path in (b"c.txt", b"d/special/c.txt"):
        site.put(path)
        assert site.said(path) == site.answered(path)
    testing_site.forget_own(site.machine)


def test_what_was_given_before_speaks_against_what_is_older(site: Site) -> None:
    site.machine.give(b"b.txt", version(7, second=NOW_S - 50), True)
    for second, answers in ((NOW_S - 51, False), (NOW_S - 50, False), (NOW_S - 49, True)):
        site.put(b"b.txt", ino=6, second=second)
        assert (site.said(b"b.txt") is not None) == answers
    assert site.machine.given(b"b.txt") == version(7, ino=6, second=NOW_S - 49)


def test_what_was_given_otherwise_is_the_handlers_from_then_on(site: Site) -> None:
    there = site.put(b"b.txt")
    site.machine.give(b"b.txt", there, False)
    assert site.machine.given(b"b.txt") is None
    assert site.said(b"b.txt") is None
    site.machine.give(b"b.txt", there, True)
    assert site.said(b"b.txt") == site.answered(b"b.txt")


def test_a_change_is_seen_at_the_second_look(site: Site) -> None:
    first = site.put(b"b.txt")
    assert site.said(b"b.txt") == site.answered(b"b.txt")
    site.wait(REVALIDATE_MS + 1)
    site.put(b"b.txt", b"other", second=NOW_S - 3)
    assert site.said(b"b.txt") == site.answered(b"b.txt")
    site.wait(REVALIDATE_MS + 1)
    # Of the same second: what of it was given may have another time.
    site.put(b"b.txt", b"third", second=NOW_S - 3, ino=9)
    assert site.said(b"b.txt") is None
    assert site.machine.given(b"b.txt") != first
    assert site.machine.live()["plans"] == site.machine.live()["entries"] == 0


@pytest.mark.parametrize(
    ("error", "answers"), [("EMFILE", True), ("ENFILE", True), ("ENOMEM", True), ("EAGAIN", False)]
)
def test_when_descriptors_run_out_what_was_there_is_trusted(site: Site, error: str, answers: bool) -> None:
    site.put(b"b.txt")
    expected = site.said(b"b.txt")
    site.wait(REVALIDATE_MS + 1)
    site.tree[b"b.txt"] = getattr(errno, error)
    assert site.said(b"b.txt") == (expected if answers else None)


def test_when_the_root_leads_elsewhere_the_handler_is_asked(site: Site) -> None:
    for path in (b"b.txt", b"c.txt"):
        site.put(path)
    assert site.said(b"b.txt") is not None
    site.wait(REVALIDATE_MS + 1)
    site.root_error = errno.ESTALE
    assert site.said(b"b.txt") is None
    assert site.said(b"c.txt") is None
    assert site.asked == ["root", "read", "root"]
    site.machine.turn_to(ROOT, b"/srv", 1, 3)
    site.root_error = 0
    assert site.said(b"c.txt") == site.answered(b"c.txt")


def test_a_root_that_nobody_has_told_of_is_not_looked_at() -> None:
    site = Site(told=False)
    entry = site.machine.entry(site.now_ms)
    site.machine.watch(entry, site.put(b"b.txt"))
    ticket = site.ask(site.recv, head(b"b.txt", b"Connection: keep-alive"))
    site.machine.answer(ticket, site.small(entry=entry), True)
    [send] = site.ops()
    site.step(send.token, send.length)
    site.wait(1)
    site.hear(site.recv, head(b"b.txt", b"Connection: keep-alive"))
    assert [kind for kind, _, _ in site.take_work()] == ["stale"]
    assert site.asked == []


def test_the_handlers_own_entry_is_looked_at_again(site: Site) -> None:
    there = site.put(b"b.txt")
    entry = site.machine.entry(site.now_ms)
    site.machine.watch(entry, there)
    plan = site.small(entry=entry)
    ticket = site.ask(site.recv, head(b"b.txt", b"Connection: keep-alive"))
    site.machine.answer(ticket, plan, True)
    [send] = site.ops()
    site.step(send.token, send.length)
    site.wait(1)
    assert site.said(b"b.txt", b"Connection: keep-alive") is not None
    assert site.asked == ["root", "look"]
    site.put(b"b.txt", ino=6)
    site.wait(REVALIDATE_MS + 1)
    site.hear(site.recv, head(b"b.txt", b"Connection: keep-alive"))
    assert [kind for kind, _, _ in site.take_work()] == ["stale"]
    # It is the handler's to let go of.
    assert site.machine.live()["entries"] == 1


def test_what_streams_is_the_handlers_to_look_at(site: Site) -> None:
    there = site.put(b"b.txt")
    entry = site.machine.entry(site.now_ms)
    site.machine.watch(entry, there)
    source = site.source(7)
    plan = site.plan([("literal", 0, 39), ("streamed", 0, 7)], entry=entry, source=source)
    ticket = site.ask(site.recv, head(b"b.txt", b"Connection: keep-alive"))
    site.machine.answer(ticket, plan, True)
    site.ops()
    site.recv = site.connect()
    site.wait(1)
    assert site.said(b"b.txt", b"Connection: keep-alive") is None
    assert site.asked == []


def test_what_is_remembered_has_a_bound(site: Site) -> None:
    """What nobody has asked for twice makes room."""
    answers = {b"%d.txt" % number: b"x" * 500 for number in range(30)}
    for path, content in answers.items():
        site.put(path, content)
        assert site.said(path) == site.answered(path)
        assert testing_site.own(site.machine) <= OWN_MAX
    live = site.machine.live()
    assert 3 <= live["entries"] == live["plans"] < 8
    assert site.machine.gauge("held_bytes") == 0


def test_what_has_no_room_is_for_one_answer() -> None:
    site = Site(own_bytes_max=100)
    site.put(b"b.txt")
    for _ in range(2):
        assert site.said(b"b.txt") == site.answered(b"b.txt")
    assert site.asked == ["root", "read", "read"]
    assert (
        site.machine.live()["plans"]
        == site.machine.live()["entries"]
        == site.machine.gauge("held_bytes")
        == 0
    )


def test_the_handler_is_called_to_make_room() -> None:
    site = Site(memory=100)
    site.put(b"b.txt")
    assert site.calls == 0
    assert site.said(b"b.txt") == site.answered(b"b.txt")
    site.machine.step()
    assert site.calls == 1
    testing_site.forget_own(site.machine)


def test_without_memory_the_handler_is_asked(site: Site) -> None:
    site.put(b"b.txt")
    site.put(b"c.txt")
    for allocations in range(2):
        testing_memory.fail_after(allocations)
        try:
            assert site.said(b"b.txt") is None
        finally:
            testing_memory.fail_after(-1)
        assert site.machine.live()["plans"] == site.machine.live()["entries"] == 0
    assert site.said(b"c.txt") == site.answered(b"c.txt")


def test_closed_it_holds_nothing() -> None:
    gc.collect()  # the machines of other tests
    before = testing_memory.live()
    site = Site(b"*/x")
    site.put(b"b.txt")
    assert site.said(b"b.txt") is not None
    assert testing_memory.live() > before
    site.machine.close()
    assert testing_memory.live() <= before


def test_templates_push_each_other_out(site: Site) -> None:
    for number in range(2000):
        site.machine.teach(head(b"a.txt", b"Accept: %d" % number), BEFORE, BEHIND, 23, True, False)
    site.put(b"b.txt")
    assert site.said(b"b.txt", b"Accept: 1999") == site.answered(b"b.txt")


def test_there_are_no_more_patterns_than_bits(site: Site) -> None:
    with pytest.raises(ValueError, match="too many"):
        site.machine.know_site(LIMITS, [b"*"] * 65, True)

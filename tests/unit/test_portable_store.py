"""The portable engine: what it remembers, and where it has the bytes."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from zchttpd.engines import portable_bodies
from zchttpd.engines.limits import ATTEMPTS_MAX
from zchttpd.engines.portable_bodies import Body, State, open_body
from zchttpd.http.cache_key import CACHE_KEY_SIZE_MAX

from .portable_bench import MEMORY, MIDDLE, Bench, body_of, fill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zchttpd.files.version import Representation


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    fill(tmp_path)
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def site(bench: Bench) -> Path:
    return bench.site


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is in the page cache."""
    monkeypatch.setattr(portable_bodies, "read_at_once", lambda _fd, _representation: None)


@pytest.mark.parametrize(
    ("name", "held"), [("small", None), ("middle", State.SNAPSHOT), ("large", State.FILE)]
)
def test_where_the_bytes_are_depends_on_their_number(
    bench: Bench, site: Path, name: str, held: State | None
) -> None:
    plan = bench.plan(f"/{name}")
    assert (plan.body.state if plan.body else None) is held
    assert body_of(plan) == (site / name).read_bytes()


def test_a_snapshot_cannot_be_changed_by_anyone(bench: Bench, site: Path) -> None:
    plan = bench.plan("/middle")
    content = (site / "middle").read_bytes()
    (site / "middle").write_bytes(bytes(MIDDLE))
    assert plan.body is not None
    with pytest.raises(PermissionError):
        os.pwrite(plan.body.fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(plan.body.fd, 0)
    assert body_of(plan) == content


def test_small_files_are_shared_between_plans_and_small_windows_are_literals(
    bench: Bench, site: Path
) -> None:
    content = (site / "middle").read_bytes()
    assert bench.plan("/small").tail is bench.plan("/small", "A: b").tail
    single = bench.plan("/middle", "Range: bytes=10-19")
    assert (single.tail, single.rest) == (content[10:20], ())
    several = bench.plan("/middle", "Range: bytes=0-4,50-59,90000-")
    assert several.rest == ()
    assert content[50:60] in several.tail
    assert content[90000:] in several.tail
    mixed = bench.plan("/middle", "Range: bytes=0-4,1000-90000")
    assert [type(piece) is bytes for piece in mixed.rest] == [False, True]
    assert content[1000:90001] in body_of(mixed)


def test_a_head_is_remembered_until_its_file_changes(bench: Bench, site: Path) -> None:
    first = bench.plan("/small")
    assert bench.cell("plan_hits") == 0
    assert bench.plan("/small") is first
    assert bench.cell("plan_hits") == 1
    (site / "small").write_bytes(b"other")
    assert bench.plan("/small") is first, "not looked at before it is due"
    bench.now_ms += 1001
    assert body_of(bench.plan("/small")) == b"other"
    (site / "small").unlink()
    bench.now_ms += 1001
    assert bench.plan("/small").status == 404


def test_what_is_not_remembered_is_judged_each_time(bench: Bench) -> None:
    for fields in (
        ("Expect: 100-continue",),
        ("Content-Length: 3",),
        ("Accept: " + "x" * CACHE_KEY_SIZE_MAX,),
    ):
        for _ in range(3):
            bench.plan("/small", *fields)
    assert bench.cell("plan_hits") == bench.cell("plans_open") == 0


def test_heads_of_one_gist_are_judged_once(bench: Bench) -> None:
    for number in range(5):
        bench.plan("/small", f"Cookie: session={number}", "User-Agent: " + "x" * CACHE_KEY_SIZE_MAX)
    assert bench.cell("plans_open") == 1
    assert bench.cell("plan_hits") == 4
    for number in range(5):
        bench.plan("/small", f"Cookie: session={number}", "Range: bytes=1-")
    assert bench.cell("plan_hits") == 4 + 3, "a range is admitted on second sight"


def test_memory_is_bounded_and_the_oldest_goes_first(bench: Bench, site: Path) -> None:
    for number in range(12):
        (site / f"m{number}").write_bytes(bytes([number]) * MIDDLE)
    for number in range(12):
        assert body_of(bench.plan(f"/m{number}")) == bytes([number]) * MIDDLE
        assert bench.cell("mapped_bytes") <= MEMORY
    assert bench.cell("mappings_open") == MEMORY // MIDDLE
    in_use = bench.plan("/m11")
    for number in range(MEMORY // MIDDLE + 1):
        bench.plan(f"/m{number}")
        assert bench.plan("/m11") is in_use, "what is in use stays"
    # Once when it became `in_use`, then in each round.
    assert bench.cell("plan_hits") == 1 + MEMORY // MIDDLE + 1


def test_invented_names_do_not_push_out_files(bench: Bench) -> None:
    plan = bench.plan("/middle")
    for number in range(3000):
        assert bench.plan(f"/nothing{number}").status == 404
    assert bench.cell("entries_open") < 1100
    assert bench.plan("/middle") is plan


def test_an_evicted_file_stays_open_for_the_response_under_way(bench: Bench, site: Path) -> None:
    plan = bench.plan("/middle")
    content = (site / "middle").read_bytes()
    body = plan.body
    assert body is not None
    body.active += 1
    for number in range(8):
        (site / f"m{number}").write_bytes(bytes(MIDDLE))
        bench.plan(f"/m{number}")
    assert bench.cell("zombies_open") == 1
    assert body_of(plan) == content
    bench.store.release(body)
    assert bench.cell("zombies_open") == 0
    assert body.fd == -1


def test_readers_that_do_not_read_cannot_pin_more_and_more_memory(bench: Bench, site: Path) -> None:
    held: list[Body] = []
    for number in range(40):
        (site / f"m{number}").write_bytes(bytes(MIDDLE))
        body = bench.plan(f"/m{number}").body
        assert body is not None
        body.active += 1
        held.append(body)
        assert bench.cell("mapped_bytes") <= MEMORY * 3 // 2
    assert {body.state for body in held} == {State.SNAPSHOT, State.FILE}
    for body in held:
        bench.store.release(body)
    (site / "later").write_bytes(bytes(MIDDLE))
    later = bench.plan("/later").body
    assert later is not None
    assert later.state is State.SNAPSHOT


@pytest.mark.usefixtures("cold")
@pytest.mark.parametrize("name", ["small", "middle"])
def test_a_file_that_is_not_in_the_page_cache_is_read_off_the_loop(
    bench: Bench, site: Path, name: str
) -> None:
    for _ in range(3):
        assert bench.ask(f"/{name}") is None
    assert bench.hand.work() == 1, "requests for one file wait for one reading"
    assert len(bench.resumed) == 3
    for plan in bench.resumed:
        assert body_of(plan) == (site / name).read_bytes()
    assert bench.plan(f"/{name}").status == 200


@pytest.mark.usefixtures("cold")
def test_a_file_that_changes_while_it_is_read_is_read_again(bench: Bench, site: Path) -> None:
    assert bench.ask("/middle") is None
    (site / "middle").write_bytes(b"y" * (MIDDLE + 1))
    bench.hand.work()
    assert bench.resumed == []
    bench.hand.work()
    [plan] = bench.resumed
    assert body_of(plan) == b"y" * (MIDDLE + 1)


@pytest.mark.usefixtures("cold")
def test_a_file_that_cannot_be_read_is_answered_503(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_body: Body) -> bytes:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(Body, "read", fail)
    assert bench.ask("/middle") is None
    for _ in range(ATTEMPTS_MAX):
        assert bench.hand.work() == 1
    assert [plan.status for plan in bench.resumed] == [503]
    assert not bench.resumed[0].keep_alive


def test_without_memory_files_the_file_itself_is_sent(
    bench: Bench, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_name: str, _flags: int) -> int:
        raise PermissionError(errno.EPERM, "not here")

    monkeypatch.setattr(os, "memfd_create", refuse)
    plan = bench.plan("/middle")
    assert plan.body is not None
    assert plan.body.state is State.FILE
    assert body_of(plan) == (site / "middle").read_bytes()


def test_open_body_tells_when_the_path_leads_elsewhere(bench: Bench, site: Path) -> None:
    plan = bench.plan("/middle")
    assert plan.body is not None
    representation: Representation = plan.body.representation
    (site / "middle").write_bytes(b"other")
    with pytest.raises(OSError, match="replaced"):
        open_body(representation, State.SNAPSHOT)

"""Faults as values: what each makes of an answer, and which request each befalls."""

from __future__ import annotations

import random

import pytest

from zchttpd.testing import (
    RANDOM,
    Corrupt,
    Cut,
    Drip,
    Fault,
    IgnoreRange,
    Replace,
    Request,
    Reset,
    Stall,
    Unavailable,
    Unsatisfiable,
    WrongLength,
)
from zchttpd.testing.faults import Answer, End
from zchttpd.testing.script import RandomRule, Rule, chance_of

BODY = bytes(range(100))
ANSWER = Answer(200, "OK", (("content-length", "100"), ("ETag", '"a"')), BODY)
ASKED = Request("GET", "/file", (("Host", "a"), ("range", "bytes=5-"), ("If-Range", '"a"')), 1)


def befallen(fault: Fault, answer: Answer = ANSWER) -> Answer:
    return fault.answer(answer, random.Random(0))


@pytest.mark.parametrize(
    ("kind", "end"), [(Cut, End.CLOSED), (Reset, End.RESET), (Stall, End.SILENT)], ids=lambda each: str(each)
)
def test_a_body_ends_early_and_its_fields_do_not_say_so(kind: type[Cut], end: End) -> None:
    found = befallen(kind(after=7))
    assert (found.body, found.end, found.fields) == (BODY[:7], end, ANSWER.fields)
    anywhere = befallen(kind())
    assert 0 <= len(anywhere.body) < len(BODY)
    assert anywhere == befallen(kind())


def test_drip_changes_no_byte() -> None:
    found = befallen(Drip(size=3, pause_s=0.5))
    assert (found.piece_size, found.pause_s, found.body) == (3, 0.5, BODY)


@pytest.mark.parametrize("by", [1, -1])
def test_a_wrong_length(by: int) -> None:
    found = befallen(WrongLength(by))
    assert [value for name, value in found.fields if name.lower() == "content-length"] == [str(100 + by)]
    assert (found.body, found.end) == (BODY, End.CLOSED)


def test_corrupt_changes_one_byte() -> None:
    found = befallen(Corrupt(at=9))
    assert [at for at in range(100) if found.body[at] != BODY[at]] == [9]
    assert len(found.body) == 100
    assert sum(a != b for a, b in zip(befallen(Corrupt()).body, BODY, strict=True)) == 1
    assert befallen(Corrupt(), Answer(304, "", (), b"")).body == b""


def test_unavailable() -> None:
    found = befallen(Unavailable(502, retry_after=3))
    assert (found.status, found.body) == (502, b"")
    assert ("Retry-After", "3") in found.fields


def test_ranges_that_are_ignored_or_refused() -> None:
    assert IgnoreRange().ask(ASKED).fields == (("Host", "a"),)
    refused = Unsatisfiable().ask(ASKED)
    assert refused.field("if-range") is None
    first = int(str(refused.field("Range")).removeprefix("bytes=").removesuffix("-"))
    assert first > 1 << 60


def test_replace() -> None:
    chance = random.Random(0)
    assert Replace(b"new").version(BODY, chance) == b"new"
    other = Replace().version(BODY, chance)
    assert len(other) == len(BODY)
    assert other != BODY


def asked(path: str, number: int) -> Request:
    return Request("GET", path, (), number)


@pytest.mark.parametrize(
    ("pattern", "numbers", "path", "number", "befalls"),
    [
        ("file", 1, "/file", 1, True),
        ("/file", 1, "/file?query", 1, True),
        ("file", 1, "/file", 2, False),
        ("file", 1, "/other/file", 1, False),
        ("*.bin", None, "/a/b.bin", 9, True),
        ("*", (2, 3), "/file", 3, True),
        ("*", range(2, 4), "/file", 4, False),
    ],
)
def test_rules(pattern: str, numbers: int | None, path: str, number: int, befalls: bool) -> None:
    fault = Cut(1)
    assert Rule(pattern, (fault,), numbers).faults_of(asked(path, number)) == ((fault,) if befalls else ())


def test_chance_is_of_seed_path_and_number_alone() -> None:
    def drawn(seed: int, path: str, number: int) -> float:
        return chance_of(seed, asked(path, number)).random()

    assert drawn(1, "/a", 1) == drawn(1, "/a", 1)
    assert len({drawn(1, "/a", 1), drawn(2, "/a", 1), drawn(1, "/b", 1), drawn(1, "/a", 2)}) == 4


def test_random_rules() -> None:
    def faults(seed: int, rate: float) -> list[object]:
        rule = RandomRule("*", RANDOM, seed, rate, most=5)
        return [rule.faults_of(asked(f"/{path}", number)) for path in range(40) for number in range(1, 8)]

    assert faults(1, 0.5) == faults(1, 0.5) != faults(2, 0.5)
    assert sum(map(bool, faults(1, 1.0))) == 40 * 5
    assert 60 < sum(map(bool, faults(1, 0.5))) < 140
    assert {fault for found in faults(1, 1.0) for fault in found} == set(RANDOM)  # type: ignore[attr-defined]

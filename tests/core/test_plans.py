"""The table from heads to plans: an honest subset of a dict, bounded, never fooled by a hash."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from zchttpd._core.testing import Plans

MASK = 2**64 - 1
WAYS = 8


def siphash13(key0: int, key1: int, text: bytes) -> int:
    """SipHash with one round a word and three at the end (Aumasson and Bernstein, "SipHash", section 2)."""
    v = [
        key0 ^ 0x736F6D6570736575,
        key1 ^ 0x646F72616E646F6D,
        key0 ^ 0x6C7967656E657261,
        key1 ^ 0x7465646279746573,
    ]

    def turn(word: int, bits: int) -> int:
        return (word << bits | word >> (64 - bits)) & MASK

    def rounds(count: int) -> None:
        for _ in range(count):
            v[0] = (v[0] + v[1]) & MASK
            v[2] = (v[2] + v[3]) & MASK
            v[1], v[3] = turn(v[1], 13) ^ v[0], turn(v[3], 16) ^ v[2]
            v[0] = turn(v[0], 32)
            v[2] = (v[2] + v[1]) & MASK
            v[0] = (v[0] + v[3]) & MASK
            v[1], v[3] = turn(v[1], 17) ^ v[2], turn(v[3], 21) ^ v[0]
            v[2] = turn(v[2], 32)

    padded = text + bytes(7 - len(text) % 8) + bytes([len(text) & 0xFF])
    for place in range(0, len(padded), 8):
        word = int.from_bytes(padded[place : place + 8], "little")
        v[3] ^= word
        rounds(1)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(3)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


@given(st.binary(min_size=1, max_size=600), st.integers(0, MASK), st.integers(0, MASK))
def test_the_hash_is_siphash(head: bytes, key0: int, key1: int) -> None:
    assert Plans(8, 8, key0, key1).hash(head) == siphash13(key0, key1, head)


def test_the_key_decides_about_the_set() -> None:
    heads = [b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(200)]
    sets = [[Plans(512, 8, key, 0).hash(head) % 64 for head in heads] for key in (1, 2)]
    assert sum(first == second for first, second in zip(*sets, strict=True)) < 30


def test_a_head_is_admitted_on_second_sight() -> None:
    plans = Plans(64, 8)
    plan = plans.make(b"image")
    assert plans.admit(b"head", plan) == (None, None)
    assert plans.find(b"head") is None
    row, lost = plans.admit(b"head", plan)
    assert plans.find(b"head") == (row, plan)
    assert lost is None


def test_an_eager_head_is_admitted_at_once_as_long_as_it_pushes_nothing_out() -> None:
    plans = Plans(8, 8)
    assert plans.set_count == 1
    plan = plans.make(b"image")
    for number in range(WAYS):
        row, lost = plans.admit(b"head %d" % number, plan, True)
        assert plans.find(b"head %d" % number) == (row, plan)
        assert lost is None
    assert plans.admit(b"one more", plan, True) == (None, None)
    assert plans.admit(b"one more", plan, True) != (None, None), "on second sight"


def test_heads_that_never_come_back_push_nothing_out() -> None:
    plans = Plans(16, 8)
    plan = plans.make(b"image")
    for _ in range(2):
        plans.admit(b"again and again", plan)
    rng = random.Random(1)
    for _ in range(2000):
        plans.admit(rng.randbytes(20), plan)
    assert plans.find(b"again and again") is not None
    # The doorkeeper remembers 16-bit tags: a few strangers may look familiar to it.
    assert plans.rows(plan) <= 3


def test_a_collision_of_hashes_deceives_nobody() -> None:
    plans = Plans(8, 8)
    assert plans.set_count == 1, "one set, so that any two heads meet in it"
    mine, yours = plans.make(b"mine"), plans.make(b"yours")
    for _ in range(2):
        row, _ = plans.admit(b"GET /mine", mine)
    assert row is not None
    plans.forge(row, plans.hash(b"GET /your"))
    assert plans.find(b"GET /your") is None
    for _ in range(2):
        other, _ = plans.admit(b"GET /your", yours)
    assert other != row
    found = plans.find(b"GET /your")
    assert found == (other, yours)
    plans.forge(row, plans.hash(b"GET /mine"))
    assert plans.find(b"GET /mine") == (row, mine)


def test_length_alone_does_not_make_a_head() -> None:
    plans = Plans(8, 8)
    plan = plans.make(b"image")
    for _ in range(2):
        row, _ = plans.admit(b"GET /abc", plan)
    assert row is not None
    for other in (b"GET /ab", b"GET /abcd", b"GET /abc\0"):
        plans.forge(row, plans.hash(other))
        assert plans.find(other) is None


class PlansMachine(RuleBasedStateMachine):
    """Plans with and without entries, led to by heads; the model remembers every head ever admitted."""

    plans_made = Bundle("plans_made")
    entries_made = Bundle("entries_made")

    @initialize()
    def open(self) -> None:
        self.table = Plans(16, 4, 5, 6)
        self.rows: dict[bytes, int] = {}  # head -> plan, as far as nobody was told otherwise
        self.images: dict[int, int] = {}  # plan -> bytes of its image
        self.entries: dict[int, list[int]] = {}

    @rule(target=entries_made)
    def entry(self) -> int:
        if len(self.entries) == 4:
            return next(iter(self.entries))
        entry = self.table.entry()
        self.entries[entry] = []
        return entry

    @rule(target=plans_made, size=st.integers(1, 300), entry=st.none() | entries_made)
    def make(self, size: int, entry: int | None) -> int:
        plan = self.table.make(b"x" * size, entry)
        assert plan not in self.images
        self.images[plan] = size
        if entry is not None:
            self.entries[entry].insert(0, plan)
        return plan

    @rule(plan=plans_made, number=st.integers(0, 60), eager=st.booleans())
    def admit(self, plan: int, number: int, eager: bool) -> None:
        head = b"GET /%d HTTP/1.1\r\n\r\n" % number
        row, lost = self.table.admit(head, plan, eager)
        if row is None:
            assert lost is None
            assert self.table.find(head) is None or head in self.rows
            return
        before = self.rows.pop(head, None)
        if lost is not None and before is None:
            # Another head of the same set made room: find out which.
            gone = [
                head for head, owner in self.rows.items() if owner == lost and self.table.find(head) is None
            ]
            assert len(gone) == 1
            del self.rows[gone[0]]
        else:
            assert lost == before
        self.rows[head] = plan
        assert self.table.find(head) == (row, plan)

    @rule(number=st.integers(0, 60))
    def forget(self, number: int) -> None:
        head = b"GET /%d HTTP/1.1\r\n\r\n" % number
        found = self.table.find(head)
        assert (found is not None) == (head in self.rows)
        if found is not None:
            edition = self.table.edition(found[0])
            assert self.table.drop_row(found[0]) == self.rows.pop(head)
            assert self.table.edition(found[0]) != edition
            assert self.table.find(head) is None

    @rule(target=plans_made, plan=consumes(plans_made))
    def free(self, plan: int) -> object:
        for head in [head for head, owner in self.rows.items() if owner == plan]:
            found = self.table.find(head)
            assert found is not None
            self.table.drop_row(found[0])
            del self.rows[head]
        self.table.free(plan)
        del self.images[plan]
        for members in self.entries.values():
            if plan in members:
                members.remove(plan)
        return multiple()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "table"):
            return
        assert self.table.live == (len(self.images), len(self.entries), sum(self.images.values()))
        for head, plan in self.rows.items():
            found = self.table.find(head)
            assert found is not None
            assert found[1] == plan
        for plan in self.images:
            assert self.table.rows(plan) == sum(owner == plan for owner in self.rows.values())
        for entry, members in self.entries.items():
            assert self.table.entry_plans(entry) == members


TestPlans = PlansMachine.TestCase

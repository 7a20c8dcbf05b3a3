"""What the bench of attacks says of what it has measured."""

from __future__ import annotations

from bench.attacks import ATTACKS, WANTED, Outcome, verdicts


def outcome(attack: str, server: str, share: float, rest: str = "yes") -> Outcome:
    return Outcome(attack, server, 1000.0, 1000.0 * share, rest)


def test_goals_are_of_attacks_that_there_are() -> None:
    assert {*WANTED, "silent"} <= set(ATTACKS)


def test_what_is_missed_is_told() -> None:
    well = [outcome("idle", "auto", 0.8), outcome("silent", "auto", 0.5), outcome("silent", "nginx", 0.4, "")]
    assert verdicts(well) == ["all goals met"]
    bad = [
        outcome("idle", "auto", 0.79),
        outcome("silent", "auto", 0.3),
        outcome("silent", "nginx", 0.4, ""),
        outcome("ranges", "auto", 0.1, "3 connections_open"),
    ]
    assert verdicts(bad) == [
        "missed: auto keeps 0.79 under idle, not 0.80",
        "missed: auto keeps 0.30 under silent, not 0.40",
        "missed: auto does not rest after ranges: 3 connections_open",
    ]
    assert verdicts([outcome("silent", "auto", 0.1)]) == ["all goals met"], (
        "without nginx there is none to meet"
    )


def test_a_row_has_the_share() -> None:
    assert outcome("idle", "auto", 0.5).row() == ("idle", "auto", "1,000", "500", "0.50", "yes")

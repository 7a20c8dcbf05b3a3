"""The test hooks for `memory`: allocations that fail, and how many there are."""

from zchttpd._core.memory cimport memory_fail_after, memory_failures, memory_live


def fail_after(allocations: int) -> None:
    """Have the allocation behind the next so many fail; negative: none."""
    memory_fail_after(allocations)


def live() -> int:
    """Allocations of the machine that have not been given back."""
    return memory_live()


def failures() -> int:
    """How many have failed because a test wanted it."""
    return memory_failures()

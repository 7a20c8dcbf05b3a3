"""A run of the simulation from its beginning to its end."""

from __future__ import annotations

from .parts import Violation
from .world import STEPS, World


def must_be_at_rest(world: World) -> None:
    """When everybody has gone, nothing is left of anything."""
    live = world.machine.live()
    # A dead plan keeps its place until the heads that lead to it are looked up or pushed out.
    husks = world.machine.husks()
    if live != dict.fromkeys(live, 0) | {"windows_left": world.limits["window_count"], "plans": husks}:
        raise Violation(f"not at rest: {live}")
    gauge = world.machine.gauge
    for name in (
        "leases_open",
        "windows_open",
        "connections_open",
        "entries_open",
        "zombies_open",
        "mappings_open",
        "mapped_bytes",
        "registered_bytes",
        "pool_bytes",
    ):
        if gauge(name):
            raise Violation(f"{name} is {gauge(name)} at rest")
    if gauge("plans_open") != husks:
        raise Violation(f"plans_open is {gauge('plans_open')} for {husks} dead plans")
    if gauge("send_bytes_plain") + gauge("send_bytes_zerocopy") != world.kernel.bytes_taken:
        raise Violation("the bytes sent are counted wrong")
    ended = sum(gauge("lease_buckets", place) for place in range(25))
    if ended != world.kernel.leases_begun:
        raise Violation(f"{ended} leases ended, {world.kernel.leases_begun} begun")


def run(seed: int, steps: int = STEPS) -> World:
    """Run a seed. Raises Violation."""
    world = World(seed)
    finish(world, steps)
    return world


def finish(world: World, steps: int) -> None:
    """Play a world to its end. Raises Violation."""
    for _ in range(steps):
        world.step()
    world.settle()
    world.wait_it_out()
    world.must_be_served()
    world.leave()
    must_be_at_rest(world)

"""A run of the simulation from its beginning to its end."""

from __future__ import annotations

from zchttpd._core import testing_memory
from zchttpd.telemetry.access_log import address_of

from .audit import check_routes
from .parts import Violation
from .world import STEPS, World


def must_be_served(world: World) -> None:
    """Nobody who is there is left waiting."""
    for socket, client in world.clients:
        if (
            client.gone
            or (world.drained and not socket.accepted)
            or socket.hung_up
            or client.lost
            or client.satisfied
            or client.ended_at is not None
        ):
            continue
        conn = next((conn for conn in world.conns() if conn["fd"] == socket.fd), None)
        raise Violation(
            f"left waiting after {client.answered} of {len(client.asks)} answers, "
            f"{client.sent} of {len(client.outgoing)} bytes sent: {conn} {world.machine.live()}"
        )


def must_be_at_rest(world: World) -> None:
    """When everybody has gone, nothing is left of anything."""
    live = world.machine.live()
    # A dead plan keeps its place until the heads that lead to it are looked up or pushed out.
    husks = world.machine.husks()
    if live != dict.fromkeys(live, 0) | {"windows_left": world.limits["window_count"], "plans": husks}:
        raise Violation(f"not at rest: {live}")
    if world.kernel.files.open:
        raise Violation(f"files that nobody closed: {world.kernel.files.open}")
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
    if sum(gauge(f"send_bytes_{way}") for way in ("plain", "splice", "zerocopy")) != world.kernel.bytes_taken:
        raise Violation("the bytes sent are counted wrong")
    ended = sum(gauge("lease_buckets", place) for place in range(25))
    if ended != world.kernel.leases_held:
        raise Violation(f"{ended} leases counted, {world.kernel.leases_held} held bytes")


def must_be_logged(world: World) -> None:
    """A record for each response, with the bytes that left; of heads the simulation says nothing."""
    world.take_records()
    dropped = world.machine.gauge("access_dropped")
    responses = sum(world.machine.gauge("requests", status) for status in range(600))
    if world.logged + dropped != (responses if world.logs else 0):
        raise Violation(f"{world.logged} records, {dropped} dropped, for {responses} responses")
    if world.logs and not dropped:
        taken = {address_of(6, s.address): s.taken for s in world.kernel.sockets.values() if s.taken}
        logged = {address: count for address, count in world.logged_bytes.items() if count}
        # Those that the machine answers by itself tell what is a head, and no part of a body.
        by_itself = world.kernel.events["by_itself"]
        if world.kernel.greetings.expected or world.kernel.fronts.believed:
            # Who was told nothing, or 503 at once, has the address of the proxy; what it brings has others.
            if not by_itself and sum(taken.values()) != sum(logged.values()):
                raise Violation(f"{logged} bytes in records, {taken} sent")
        elif (
            any(count > taken.get(address, 0) for address, count in logged.items())
            if by_itself
            else taken != logged
        ):
            raise Violation(f"{world.logged_bytes} bytes in records, {taken} sent")


def must_be_given_back(world: World) -> None:
    """Closed, it holds no memory."""
    world.machine.close()
    left = testing_memory.live() - world.allocated_before
    if left > 0:
        raise Violation(f"{left} allocations have not been given back")


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
    must_be_served(world)
    world.leave()
    must_be_at_rest(world)
    must_be_logged(world)
    if world.send_mode == "auto" and world.reports_usage:
        check_routes(world.kernel)
    must_be_given_back(world)

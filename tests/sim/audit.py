"""What must hold after every step: the machine's counts are those of whoever plays the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .parts import Violation

if TYPE_CHECKING:
    from .kernel import Kernel


def check_leases(kernel: Kernel) -> None:
    """The ledger and the kernel agree about who reads what."""
    counted, open_ = kernel.machine.gauge("leases_open"), kernel.machine.live()["leases"]
    if not counted == open_ == len(kernel.leases):
        raise Violation(f"{open_} leases, {counted} counted, for {len(kernel.leases)} zero-copy sends")
    if kernel.held:
        held = kernel.rng.choice(kernel.held)
        kernel.must_be(held.op, held.snapshot)
    for socket in kernel.sockets.values():
        for op, snapshot in zip(socket.chain, socket.snapshots, strict=True):
            kernel.must_be(op, snapshot)

"""Does zchttpd really send without a copy, and from which size on does that pay?

Loopback always copies, so this needs a card: it boots a guest under QEMU (no KVM, no root) with a virtio
card, starts zchttpd in it in each send mode, and downloads from it. Two controls show that the counts can
come out otherwise: the guest's own loopback, and a second card that cannot gather scattered memory.

`--loss` does not measure: it makes the path bad, and sees that every lease lasts as long as it must.
`--tests` runs tests in the guest, whose kernel is an old one.

Needs Debian's qemu-system-x86, linux-image-amd64, busybox-static, iproute2, kmod and util-linux, and PyPI's
virtme-ng (vng); `make vm` installs them.

Exit status: 0 sent without a copy, 1 not, or cannot measure, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.namespaces import enter_namespace
from bench.options import at_least_one, prepare_outputs
from bench.vm.figures import Results, document, plot_of, proven, to_json
from bench.vm.loss import checked
from bench.vm.machine import COPY_BY, booted, make_taps, newest_kernel, run_inside
from bench.vm.measure import ask_paths, both_routes, control, rounds, started
from bench.vm.modes import AUTO, ZEROCOPY, add_modes, write_plan
from benchlib import CannotMeasure, say
from benchlib.fetch import BadAnswer
from benchlib.payload import MIB, size_label, write_payload
from benchlib.plots import write_png, write_svg
from benchlib.proc import machine
from benchlib.server import ends_on_signal, find_tool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.vm.machine import Guest
    from bench.vm.modes import Mode
    from benchlib.payload import Payload

SIZES = "4K,8K,16K,64K,256K,1M,16M,64M"
# More small files than the memory of the modes that stream takes, and one that is more than a socket takes.
LOSS_SIZES = (*range(MIB, MIB + 16), 16 * MIB)
TESTS = (
    "tests/ring",
    "tests/driver",
    "tests/core",
    "tests/sim",
    "tests/unit/process",
    "tests/wire/test_smoke.py",
    "tests/wire/test_sandbox.py",
    "tests/wire/tls",
)
# An emulated processor is slow, and the guest's disk small.
PYTEST = (
    *("-v", "-p", "no:cacheprovider", "-m", "not slow"),
    *("-o", "faulthandler_timeout=1800", "-o", "tmp_path_retention_policy=failed"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_modes(parser, SIZES, 4)
    add = parser.add_argument
    words = "MiB of each size, mode and round, but 1 to 300 responses (default: 32)"
    add("--megabytes", type=at_least_one, default=32, metavar="N", help=words)
    add("--seconds", type=at_least_one, default=900, metavar="N", help="begin nothing new after this long")
    add("--kernel", metavar="RELEASE", help="the guest's kernel in /boot (default: the newest)")
    words = "how the guest copies: words makes copies look cheap, bytes dear (default: words)"
    add("--copy-by", choices=tuple(COPY_BY), default="words", help=words)
    add("--memory", default="2G", metavar="SIZE", help="the guest's memory (default: 2G)")
    beside = Path(sys.executable).parent
    add("--zchttpd", default=str(beside / "zchttpd"), metavar="PATH", help="default: beside this Python")
    add("--vng", default=str(beside / "vng"), metavar="PATH", help="virtme-ng; default: beside this Python")
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    add("--plots", type=Path, metavar="FOLDER", help="draw card.svg and card.png there")
    add("--markdown", type=Path, metavar="FILE", help="write the table for a document")
    add("--loss", action="store_true", help="do not measure: disturb the path, and look after the leases")
    words = f"do not measure: run these tests of pytest in the guest (default: {' '.join(TESTS)})"
    add("--tests", nargs="*", metavar="PATH", help=words)
    add("--in-namespace", action="store_true", help=argparse.SUPPRESS)


def measured(guest: Guest, chosen: argparse.Namespace, payloads: list[Payload]) -> Results:
    """Measure everything. What was measured before an error or Ctrl-C is kept."""
    facts = guest.ask("facts")
    say(f"the guest is up: Linux {facts['kernel']}")
    found = Results(machine(), facts)
    try:
        modes, found.absent = started(guest, chosen.modes)
        found.paths = ask_paths(guest)
        middle = min(payloads, key=lambda each: abs(each.size - MIB))
        names = [mode.name for mode in modes]
        if ZEROCOPY in names:
            for route in ("loopback", "a card that does not gather"):
                found.controls.append(control(guest, ZEROCOPY, route, middle))
        if AUTO in names:
            found.routes = both_routes(guest, middle)
        for sample in rounds(guest, modes, chosen, payloads):
            found.samples.append(sample)
        found.endings = guest.ask("end")
    except (CannotMeasure, BadAnswer, OSError) as error:
        found.cut_short = str(error)
    except KeyboardInterrupt:
        found.cut_short = "interrupted"
    found.settings = {
        "sizes": ",".join(map(size_label, chosen.sizes)),
        "rounds": max((sample.round for sample in found.samples), default=0),
        "copy_by": chosen.copy_by,
        "connections": chosen.connections,
        "megabytes": chosen.megabytes,
    }
    return found


def report(chosen: argparse.Namespace, results: Results) -> int:
    """Write and print what was measured. Returns the exit status."""
    if chosen.json:
        chosen.json.write_text(to_json(results))
    if chosen.markdown:
        chosen.markdown.write_text(document("vm.md.j2", results))
    if chosen.plots and results.samples:
        chosen.plots.mkdir(parents=True, exist_ok=True)
        plot = plot_of(results.samples)
        write_png([plot], chosen.plots / "card.png", f"in a guest, Linux {results.guest['kernel']}")
        write_svg(plot, chosen.plots / "card.svg")
    print(document("vm.txt.j2", results))
    if results.cut_short == "interrupted":
        return 130
    return 0 if proven(results.samples).startswith("sent without") and not results.cut_short else 1


def disturbed(guest: Guest, modes: Sequence[Mode], payloads: Sequence[Payload]) -> int:
    """Do what loss.py does in every mode that sends without a copy. Returns the exit status."""
    running, _ = started(guest, [mode for mode in modes if mode.name.endswith(ZEROCOPY)])
    found = checked(guest, [mode.name for mode in running], payloads[:-1], payloads[-1])
    wrong = [check for check in found if check.wrong]
    leases = sum(check.leases for check in found)
    print(f"{len(found) - len(wrong)} of {len(found)} as it should be, with {leases} leases")
    return 1 if wrong or not found else 0


def main(chosen: argparse.Namespace) -> int:
    prepare_outputs(chosen.json, chosen.markdown)
    for program in (chosen.vng, chosen.zchttpd):
        if not os.access(program, os.X_OK):
            raise CannotMeasure(f"{program} is not a program; type: pip install virtme-ng . (see --help)")
    find_tool("qemu-system-x86_64", "qemu-system-x86")
    if not chosen.in_namespace:
        enter_namespace()
    kernel = chosen.kernel or newest_kernel(os.listdir("/boot"))
    with ends_on_signal(), tempfile.TemporaryDirectory(prefix="zchttpd-vm-") as name:
        directory = Path(name)
        root = directory / "root"
        root.mkdir()
        say(f"booting Linux {kernel}, which takes about half a minute")
        if chosen.tests is not None:
            # What is installed is tested, not the tree, as by `make test`.
            command = [sys.executable, "-P", "-m", "pytest", *PYTEST, *(chosen.tests or TESTS)]
            return run_inside(chosen.vng, kernel, directory, chosen.memory, chosen.copy_by, command)
        write_plan(directory, root, chosen.zchttpd, chosen.modes)
        wanted = LOSS_SIZES if chosen.loss else chosen.sizes
        payloads = [write_payload(root, size) for size in wanted]
        make_taps()
        with booted(chosen.vng, kernel, directory, chosen.memory, chosen.copy_by) as guest:
            if chosen.loss:
                return disturbed(guest, chosen.modes, payloads)
            results = measured(guest, chosen, payloads)
    return report(chosen, results)

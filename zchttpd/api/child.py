"""The process behind `zchttpd.serve`, run as a module: DIR, and the numbers of two descriptors that it was
passed, the stream socket to the program and the listening socket. The first line on that socket has the texts
of the options, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace

from zchttpd.api.options import read_texts
from zchttpd.config.load import without_effect
from zchttpd.process.memory_limit import fit, memory_limit
from zchttpd.process.starter import Program
from zchttpd.process.supervisor import run
from zchttpd.telemetry import log


def main() -> int:
    """Serve until the program has this end, or has ended itself; the exit code as that of the command."""
    root, channel, listener = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    log.open_streams()
    for fd in (channel, listener):
        os.set_inheritable(fd, False)
    with open(channel, encoding="ascii", closefd=False) as texts:
        given = read_texts({**json.loads(texts.readline()), "root": root})
    settings, notes = fit(given, memory_limit())
    if not settings.admin:
        # Where the program asks for the metrics.
        settings = replace(settings, admin="127.0.0.1:0")
    if "log_level" not in given.sources:
        # The output is the program's: what is not for it to mend is left out.
        settings = replace(settings, log_level="warning")
    starter = Program(channel, listener, proxy=settings.listens[0].proxy)
    return run(settings, [*notes, *without_effect(settings, given.sources)], starter)


if __name__ == "__main__":
    sys.exit(main())

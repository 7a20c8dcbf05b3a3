"""wrk: the command line for a workload. Its scripts are in lua/."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchlib.fetch import request_bytes
from benchlib.server import HOST

if TYPE_CHECKING:
    from bench.check import Checked
    from bench.workloads import Workload
    from benchlib.server import Server

LUA = Path(__file__).with_name("lua")


@dataclass(frozen=True, slots=True)
class Bench:
    """What stays the same over a run: cores, connections, seconds, and a directory for what clients read."""

    server_core: int
    client_cores: tuple[int, ...]
    connections: int
    seconds: float
    directory: Path

    def connections_of(self, workload: Workload) -> int:
        return workload.connections or self.connections


def wrk_command(
    bench: Bench, server: Server, workload: Workload, checked: Checked, seconds: float
) -> list[str]:
    """Return wrk's command line, and write the requests that it reads where they are more than one."""
    threads, first = len(bench.client_cores), checked.requests[0]
    script, arguments, fields = "done.lua", [], []
    requests = bench.directory / f"{server.name}.requests"
    if workload.cookie:
        text = request_bytes(HOST, server.port, first.target, (*first.fields, ("Cookie", "session=")))
        requests.write_bytes(text.removesuffix(b"\r\n\r\n"))
        # Never the same twice, not in the next round either.
        script, arguments = "cookie.lua", ["--", str(requests), str(time.monotonic_ns())]
    elif len(checked.requests) > 1:
        texts = (request_bytes(HOST, server.port, each.target, each.fields) for each in checked.requests)
        requests.write_bytes(b"\0".join(texts))
        script, arguments = "table.lua", ["--", str(requests)]
    else:
        fields = [word for name, value in first.fields for word in ("-H", f"{name}: {value}")]
    # wrk takes whole seconds only.
    duration = ["-d", str(max(1, round(seconds))), "--timeout", "60s", "--latency"]
    url = f"http://{HOST}:{server.port}{first.target}"
    size = [f"-t{threads}", f"-c{bench.connections_of(workload)}"]
    return ["wrk", *size, *duration, "-s", str(LUA / script), *fields, url, *arguments]

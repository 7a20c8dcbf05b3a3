"""wrk: its scripts, and the command line for a workload."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from measure.fetch import request_bytes
from measure.servers import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from measure.check import Checked
    from measure.servers import Server
    from measure.workloads import Workload

# A Lua function called per request costs the client CPU, so each workload has no more of them than it needs.
WRK_DONE = """\
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '{"seconds": %.6f, "requests": %d, "bytes": %.0f, "errors": %d, ' ..
        '"p50_us": %.1f, "p99_us": %.1f}\\n',
        summary.duration / 1e6, summary.requests, summary.bytes,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
"""
# Whole requests, made beforehand: the file holds them with a NUL between them.
WRK_TABLE = """
local requests, count, at = {}, 0, 0
init = function(arguments)
    for text in io.open(arguments[1], "rb"):read("*a"):gmatch("[^%z]+") do
        count = count + 1
        requests[count] = text
    end
end
request = function()
    at = at % count + 1
    return requests[at]
end
"""
# The file holds one request whose last field is a cookie that is still open.
WRK_COOKIE = """
local threads, start, at, number = 0, "", 0, 0
setup = function(thread)
    thread:set("number", threads)
    threads = threads + 1
end
init = function(arguments)
    start = io.open(arguments[1], "rb"):read("*a") .. arguments[2] .. "-" .. number .. "-"
end
request = function()
    at = at + 1
    return start .. at .. "\\r\\n\\r\\n"
end
"""
SCRIPTS = {"done.lua": WRK_DONE, "table.lua": WRK_DONE + WRK_TABLE, "cookie.lua": WRK_DONE + WRK_COOKIE}


@dataclass(frozen=True, slots=True)
class Bench:
    """What stays the same over a run: cores, connections, seconds, and a directory for what clients read."""

    server_core: int
    client_cores: tuple[int, ...]
    connections: int
    seconds: float
    directory: Path

    def write_scripts(self) -> None:
        for name, text in SCRIPTS.items():
            (self.directory / name).write_text(text)

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
    return ["wrk", *size, *duration, "-s", str(bench.directory / script), *fields, url, *arguments]

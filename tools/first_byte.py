"""Whether the zchttpd that is installed here serves: `first_byte.py ENGINE...`, outside of any clone.

For each engine, `uring` or `portable`, a server is started as users start it, by the command, and asked for a
file of several segments. Only what the wheel brings is used. Exit status: 0 each has served it, 1 not.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

WAIT_S = 30.0


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def get(url: str) -> bytes | None:
    """The body, or nothing as long as nobody listens."""
    with (
        contextlib.suppress(ConnectionError, urllib.error.URLError),
        urllib.request.urlopen(url, timeout=WAIT_S) as reply,
    ):
        body: bytes = reply.read()
        return body
    return None


def served(engine: str, place: Path, name: str) -> bytes:
    """One file from a server that lives as long as it takes. Raises RuntimeError where it does not come."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("zchttpd")), str(place), "--engine", engine]
    server = subprocess.Popen([*command, "--port", str(port)])
    try:
        until = time.monotonic() + WAIT_S
        while (body := get(f"http://127.0.0.1:{port}/{name}")) is None:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"--engine {engine} serves nothing: exit status {server.poll()}")
            time.sleep(0.01)
        return body
    finally:
        server.terminate()
        server.wait()


def main() -> int:
    """Ask each engine that the command line names."""
    with tempfile.TemporaryDirectory() as place:
        content = os.urandom(3 << 20)
        (Path(place) / "file.bin").write_bytes(content)
        Path(place).chmod(0o755)
        for engine in sys.argv[1:]:
            started = time.monotonic()
            if served(engine, Path(place), "file.bin") != content:
                raise RuntimeError(f"--engine {engine} served other bytes")
            print(f"{engine}: {len(content)} bytes {time.monotonic() - started:.2f} s after its start")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as err:
        print(err, file=sys.stderr)
        sys.exit(1)

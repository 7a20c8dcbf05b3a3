"""What only the portable engine does: sendfile, and what it says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .client import request
from .servers import SENDS_ZEROCOPY, serving
from .streams import digest_of, download, pattern
from .tree import KIB, MIB

if TYPE_CHECKING:
    from pathlib import Path

SENDFILE_BYTES = 'send_bytes_total{mode="sendfile"}'
PLAIN_BYTES = 'send_bytes_total{mode="plain"}'
# Held here, held as a snapshot, and too large for that with 8 MiB of memory.
SIZES = {"small": 4 * KIB, "cached": MIB, "changing": 5 * MIB}


def test_large_files_leave_by_sendfile_and_small_ones_with_their_head(tmp_path: Path) -> None:
    for name, size in SIZES.items():
        (tmp_path / name).write_bytes(pattern(size))
    with serving(tmp_path, engine="portable", memory=8 * MIB, stream_memory=4 * MIB) as server:
        assert "(portable (" in server.stdout()
        assert "send mode sendfile" in server.stdout()
        before = server.metrics()
        for name, size in SIZES.items():
            assert download(server, f"/{name}")[1] == digest_of(pattern(size)), name
        now = server.metrics()
        by_sendfile = now[SENDFILE_BYTES] - before[SENDFILE_BYTES]
        assert now[SENDS_ZEROCOPY] == 0
        # The end of a file that may change is a copy, so that a change can still cut the response off.
        assert MIB + 4 * MIB < by_sendfile < MIB + 5 * MIB
        assert by_sendfile + now[PLAIN_BYTES] - before[PLAIN_BYTES] > sum(SIZES.values())
        assert now["mapped_bytes"] == MIB


def test_multipart_leaves_through_windows_too(tmp_path: Path) -> None:
    content = pattern(MIB)
    (tmp_path / "file").write_bytes(content)
    with serving(tmp_path, engine="portable") as server:
        asked = request("/file", "Range: bytes=0-9,100000-899999")
        # Once from the file, and once from memory, where the end need not be held back.
        for whole in (0, MIB):
            assert not whole or len(server.ask(request("/file")).body) == whole
            before = server.metric(SENDFILE_BYTES)
            reply = server.ask(asked)
            assert reply.status == 206
            assert content[:10] in reply.body
            assert content[100_000:900_000] in reply.body
            by_sendfile = server.metric(SENDFILE_BYTES) - before
            assert by_sendfile == 800_000 if whole else 700_000 < by_sendfile < 800_000

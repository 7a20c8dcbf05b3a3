"""What only the portable engine does: splice, and what it says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .client import request
from .servers import SENDS_ZEROCOPY, serving
from .streams import cache, digest_of, download, pattern
from .tree import KIB, MIB

if TYPE_CHECKING:
    from pathlib import Path

SPLICE_BYTES = 'send_bytes_total{mode="splice"}'
PLAIN_BYTES = 'send_bytes_total{mode="plain"}'
# Joined to its head, held as a snapshot, and too large for that with 8 MiB of memory.
SIZES = {"small": 4 * KIB, "cached": MIB, "streamed": 5 * MIB}


def site(root: Path) -> Path:
    for name, size in SIZES.items():
        (root / name).write_bytes(pattern(size))
    return root


def test_cached_files_leave_by_splice_and_small_ones_with_their_head(tmp_path: Path) -> None:
    with serving(site(tmp_path), engine="portable", memory=8 * MIB, stream_memory=4 * MIB) as server:
        assert "(portable (" in server.stdout()
        assert "send mode splice" in server.stdout()
        cache(server, "/cached")
        before = server.metrics()
        for name, size in SIZES.items():
            assert download(server, f"/{name}")[1] == digest_of(pattern(size)), name
        now = server.metrics()
        assert now[SENDS_ZEROCOPY] == 0
        assert now[SPLICE_BYTES] - before[SPLICE_BYTES] == MIB
        assert now[PLAIN_BYTES] - before[PLAIN_BYTES] > SIZES["streamed"]
        assert now["mapped_bytes"] >= MIB


def test_plain_copies(tmp_path: Path) -> None:
    with serving(site(tmp_path), engine="portable", send_mode="plain", memory=8 * MIB) as server:
        assert "send mode plain" in server.stdout()
        for name, size in SIZES.items():
            assert download(server, f"/{name}")[1] == digest_of(pattern(size)), name
        assert server.metric(SPLICE_BYTES) == 0


def test_multipart_is_spliced_too(tmp_path: Path) -> None:
    content = pattern(MIB)
    (tmp_path / "file").write_bytes(content)
    with serving(tmp_path, engine="portable") as server:
        cache(server, "/file")
        server.wait_for_rest()
        before = server.metric(SPLICE_BYTES)
        reply = server.ask(request("/file", "Range: bytes=0-9,100000-899999"))
        assert reply.status == 206
        assert content[:10] in reply.body
        assert content[100_000:900_000] in reply.body
        server.wait_for_rest()
        assert server.metric(SPLICE_BYTES) - before == 800_000


def test_where_there_are_few_descriptors_the_rest_is_copied(tmp_path: Path) -> None:
    """Each snapshot wants one; what is above that is served all the same."""
    for number in range(80):
        (tmp_path / f"{number}").write_bytes(pattern(64 * KIB))
    with serving(tmp_path, engine="portable", nofile=256) as server:
        for number in range(80):
            assert server.ask(request(f"/{number}")).body == pattern(64 * KIB)
        assert server.metric(SPLICE_BYTES) > 0

"""What docs/verified-downloads.md says to type, and what comes of it."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from .played import Played

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Run, Serve


def test_curl_downloads_and_verifies(
    serve: Serve, run: Run, root: Path, tmp_path: Path, noise: Callable[[int], bytes]
) -> None:
    content = noise(10 << 20)
    (root / "assets").mkdir()
    (root / "assets" / "10MiB.bin").write_bytes(content)
    (tmp_path / "www").symlink_to("root")
    printed = Played("verified-downloads.md").play(serve, run, tmp_path).splitlines()
    whole, part = (
        base64.b64encode(hashlib.sha256(each).digest()).decode() for each in (content, content[:65536])
    )
    assert printed[0] == f"Repr-Digest: sha-256=:{whole}:"
    assert printed[1] == printed[3] == "verified"
    assert printed[2] == f"Content-Digest: sha-256=:{part}:"
    assert printed[-1] == "assets/10MiB.bin: OK"
    # Resumed: the same bytes once more.
    assert (tmp_path / "10MiB.bin").read_bytes() == content

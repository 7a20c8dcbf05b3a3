"""What leaves: sizes around every threshold, and bodies that are exact in any mode (RFC 9112 section 6.3)."""

from __future__ import annotations

from ..case import ABSENT, KEPT, PRESENT, Case
from ..client import request
from ..tree import FILES, LAST_MODIFIED, SIZES, SPARSE, SPARSE_SIZE

CASES = (
    *(
        Case(
            f"whole-{name}",
            request(f"/{name}"),
            200,
            body=FILES[name.encode()],
            headers={
                "Content-Length": str(size).encode(),
                "Last-Modified": LAST_MODIFIED,
                "Content-Type": b"application/octet-stream",
            },
            kept=KEPT,
        )
        for name, size in SIZES.items()
    ),
    *(
        Case(
            f"closing-{name}",
            request(f"/{name}", "Connection: close"),
            200,
            body=FILES[name.encode()],
            kept=False,
        )
        for name in SIZES
    ),
    Case(
        "empty-file",
        request("/empty.txt"),
        200,
        body=b"",
        headers={"Content-Length": b"0", "Content-Type": b"text/plain; charset=utf-8"},
        kept=KEPT,
    ),
    Case(
        "ten-gigabytes-head",
        request(b"/" + SPARSE, "Accept-Encoding: br, gzip, zstd", method="HEAD"),
        200,
        headers={"Content-Length": b"%d" % SPARSE_SIZE, "Content-Encoding": ABSENT},
        kept=KEPT,
    ),
    Case(
        "ten-gigabytes-the-end",
        request(b"/" + SPARSE, f"Range: bytes={SPARSE_SIZE - 5}-", f"If-Range: {LAST_MODIFIED.decode()}"),
        206,
        body=bytes(5),
        headers={"Content-Range": b"bytes %d-%d/%d" % (SPARSE_SIZE - 5, SPARSE_SIZE - 1, SPARSE_SIZE)},
        kept=KEPT,
    ),
    Case(
        "ten-gigabytes-beyond-the-end",
        request(b"/" + SPARSE, f"Range: bytes={SPARSE_SIZE}-"),
        416,
        headers={"Content-Range": b"bytes */%d" % SPARSE_SIZE},
        kept=KEPT,
    ),
    Case(
        "keep-alive-is-implied",
        request("/hello.txt"),
        200,
        headers={"Transfer-Encoding": ABSENT, "Date": PRESENT, "Server": ABSENT},
        kept=KEPT,
    ),
    *(
        Case(
            f"error-{status}-{target[1:]}",
            request(target),
            status,
            headers={"ETag": ABSENT, "Last-Modified": ABSENT},
        )
        for status, target in ((404, "/nothing"), (400, "/%zz"), (404, "/.env"))
    ),
)

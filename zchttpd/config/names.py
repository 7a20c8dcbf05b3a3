"""Names that settings may take, below everything: whoever means one imports it from here."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

AUTO = "auto"
ENGINES = (AUTO, "uring", "portable")
SEND_MODES = (AUTO, "zerocopy", "plain")
FORWARDED_FIELDS = ("x-forwarded-for", "forwarded")
UNKNOWN_HOSTS = ("root", "404", "421")
LOG_LEVELS = ("debug", "info", "warning", "error")
# Of --access-log, instead of a path.
OFF = "off"
STDOUT = "-"
LOG_FORMATS = ("common", "combined", "timed", "json")

# The content coding of bytes that have none (RFC 9110 section 8.4.1).
IDENTITY = "identity"
# Content codings that stored bytes may have (RFC 9110 section 8.4.1 and the registry of IANA), and the
# extensions that say so behind the name of what was encoded.
STORED_CODINGS: dict[str, tuple[bytes, ...]] = {
    "br": (b"br",),
    "zstd": (b"zst", b"zstd"),
    "gzip": (b"gz", b"gzip"),
    "deflate": (b"deflate",),
    IDENTITY: (),
}
# The encodings that --compress makes, with the package of PyPI, and module, that makes each; Python brings
# the one without.
ENCODINGS = {"br": "brotli", "zstd": "zstandard", "gzip": ""}


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of the kernel: its first release (a hint: distributions backport) and what its lack costs."""

    since: str
    lost: str


# Of --without, and of the probe of the ring.
FEATURES: dict[str, Feature] = {
    "send_zc": Feature("6.0", "every body is copied when it is sent"),
    "report_usage": Feature("6.2", "the kernel does not tell whether a zero-copy send was copied after all"),
    "sparse_buffers": Feature("5.19", "no memory can be registered, so every body is copied when it is sent"),
    "multishot_accept": Feature("5.19", "each connection costs an accept operation of its own"),
    "multishot_recv": Feature("6.0", "each request costs a receive operation of its own"),
    "buffer_ring": Feature("5.19", "receive buffers are given back to the kernel one operation at a time"),
    "single_issuer": Feature("6.0", "the kernel locks a ring that only one thread uses"),
    "defer_taskrun": Feature("6.1", "completions interrupt the loop instead of waiting for it"),
    "registered_ring_fd": Feature("5.18", "each enter looks the ring up by its descriptor"),
    "restrictions": Feature("5.10", "whoever gets hold of the ring may open and write files with it"),
}

# Of --without too: how a worker is confined.
SANDBOX: dict[str, Feature] = {
    "landlock": Feature("5.13", "a worker may open whatever its user may"),
    "seccomp": Feature("3.17", "a worker may make every system call"),
    "capabilities": Feature("2.6.25", "a worker keeps the capabilities that it was started with"),
}


def missing_encodings() -> dict[str, str]:
    """What cannot be made here: encoding -> package to install."""
    return {
        name: package
        for name, package in ENCODINGS.items()
        if package and importlib.util.find_spec(package) is None
    }

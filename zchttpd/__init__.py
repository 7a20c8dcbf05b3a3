"""A static file server on io_uring that sends file bytes without copying them.

For programs: `serve`, `Server`, and what they raise, `SettingsError` and `StartError`; the module `zerocopy`.
What is asked for is imported then: `import zchttpd` alone costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zchttpd import zerocopy
    from zchttpd.api.serve import Server, serve
    from zchttpd.config.options import SettingsError, StartError

__all__ = ["Server", "SettingsError", "StartError", "__version__", "serve", "zerocopy"]

__version__ = "0.1.0"

_PLACES = {
    "Server": "zchttpd.api.serve",
    "SettingsError": "zchttpd.config.options",
    "StartError": "zchttpd.config.options",
    "serve": "zchttpd.api.serve",
}


def __getattr__(name: str) -> object:
    if name == "zerocopy":
        return importlib.import_module("zchttpd.zerocopy")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_PLACES[name]), name)
    return found

"""How a listing looks, the one script that runs in it, and the policy that lets in these two."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path


def _joined(name: str) -> str:
    """A file beside this one, without the line ends and the indents, which are for who reads it there."""
    text = Path(__file__).with_name(name).read_text(encoding="ascii")
    return "".join(line.strip() for line in text.splitlines())


# Columns of fixed width: a browser need not measure a hundred thousand rows before it shows the first. The
# icons are shapes and not pictures, as nothing may be loaded. On a narrow screen a name is cut to its line,
# and a time to its date: the hour falls to a second line, which is not shown. On a telephone there is one
# column beside the names: that of the size, or of the time if that sorts; the heads stay.
STYLE = _joined("listing.css")

# It shows the filter box, which would do nothing without it. All words in it must be in a name. `/` leads
# into the box, Escape empties it, Enter opens the first name that is left.
SCRIPT = _joined("listing.js")


def _source(text: str) -> str:
    """A hash source (CSP Level 3, section 2.3.1), which lets in this text and no other."""
    digest = hashlib.sha256(text.encode("ascii")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


# Whatever a name could smuggle in, it would not run or load. The forms are those that sort.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_source(STYLE)}; script-src {_source(SCRIPT)}; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)

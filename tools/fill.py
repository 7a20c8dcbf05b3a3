"""Put text from standard input between two markers of a file: `fill.py FILE NAME <TEXT`.

The markers are lines of their own, `<!-- NAME:begin -->` and `<!-- NAME:end -->`, each there once. What is
between them is replaced; the rest stays as it is. Exit status: 0 written, 1 no text, no such file or markers.
"""

from __future__ import annotations

import sys
from pathlib import Path


def fill(document: str, name: str, text: str) -> str:
    """`document` with `text` between the markers `name`. Raises ValueError with a one-line text."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->\n"
    if document.count(begin) != 1 or document.count(end) != 1 or document.index(begin) > document.index(end):
        raise ValueError(f"wants one line {begin.strip()} and, below it, one line {end.strip()}")
    if not text.strip():
        raise ValueError("there is nothing to put between the markers")
    before = document[: document.index(begin) + len(begin)]
    return f"{before}{text.strip()}\n{document[document.index(end) :]}"


def main() -> int:
    """Fill the file that the command line names."""
    if len(sys.argv) != 3:
        print("usage: fill.py FILE NAME <TEXT", file=sys.stderr)
        return 1
    path = Path(sys.argv[1])
    try:
        filled = fill(path.read_text(encoding="utf-8"), sys.argv[2], sys.stdin.read())
        path.write_text(filled, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What pyproject.toml requires, one requirement a line: `requires.py [EXTRA...]`.

The project's dependencies come first, then those of each extra named, and of the extras that it names.
So pip installs them in a call of their own, where a package without a wheel is built with what its
author chose. In one call with `--no-build-isolation` those would have to be in this environment.

Exit status: 0 written, 1 no such extra.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def required(project: dict[str, Any], extra: str) -> Iterator[str]:
    """Requirements of one extra of a `[project]` table. Raises KeyError for one that is not there."""
    for line in project["optional-dependencies"][extra]:
        own = re.fullmatch(rf"{re.escape(project['name'])}\[([\w,\s-]+)\]", line)
        if own is None:
            yield line
        else:
            for name in own[1].split(","):
                yield from required(project, name.strip())


def main() -> int:
    """Print what the extras of the command line require."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    try:
        extras = [line for extra in sys.argv[1:] for line in required(project, extra)]
    except KeyError as err:
        print(f"pyproject.toml has no extra {err.args[0]}", file=sys.stderr)
        return 1
    print("\n".join(dict.fromkeys([*project["dependencies"], *extras])))
    return 0


if __name__ == "__main__":
    sys.exit(main())

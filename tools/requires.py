"""What pyproject.toml requires, one requirement a line: `requires.py [NAME...]`.

The project's dependencies come first, then those of each extra or dependency group named, and of those that
it names.
So pip installs them in a call of their own, where a package without a wheel is built with what its
author chose. In one call with `--no-build-isolation` those would have to be in this environment.

Exit status: 0 written, 1 no such extra or group.
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


def required(project: dict[str, Any], groups: dict[str, list[Any]], name: str) -> Iterator[str]:
    """Requirements of one group or extra. Raises KeyError for one that is not there."""
    for line in groups[name] if name in groups else project["optional-dependencies"][name]:
        if isinstance(line, dict):
            yield from required(project, groups, line["include-group"])
        elif own := re.fullmatch(rf"{re.escape(project['name'])}\[([\w,\s-]+)\]", line):
            for each in own[1].split(","):
                yield from required(project, groups, each.strip())
        else:
            yield line


def main() -> int:
    """Print what the extras and groups of the command line require."""
    table = tomllib.loads(PYPROJECT.read_text())
    project, groups = table["project"], table["dependency-groups"]
    try:
        named = [line for name in sys.argv[1:] for line in required(project, groups, name)]
    except KeyError as err:
        print(f"pyproject.toml has no extra or group {err.args[0]}", file=sys.stderr)
        return 1
    print("\n".join(dict.fromkeys([*project["dependencies"], *named])))
    return 0


if __name__ == "__main__":
    sys.exit(main())

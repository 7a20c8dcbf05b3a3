"""The layers under test are reached through hooks that only a test build has."""

from __future__ import annotations

import pytest

try:
    from zchttpd._core import testing
except ImportError as error:
    raise pytest.UsageError("the tests of the core need a build with test hooks. Type: make dev") from error

assert testing.OPS

"""The layers under test are reached through doors that only a test build has."""

from __future__ import annotations

import pytest

try:
    from zchttpd._core import testing
except ImportError as error:
    raise pytest.UsageError("the tests of the core need a build with testing. Type: make dev") from error

assert testing.OPS

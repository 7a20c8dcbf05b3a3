"""The layers under test are reached through doors that only a test build has."""

from __future__ import annotations

import pytest

try:
    from zchttpd._core import doors
except ImportError as error:
    raise pytest.UsageError("the tests of the core need a build with doors. Type: make dev") from error

assert doors.OPS

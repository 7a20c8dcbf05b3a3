"""The tree is not installed: its bench and load test are found from its top."""

from __future__ import annotations

import sys
from pathlib import Path

# Last, so that zchttpd is the installed one.
sys.path.append(str(Path(__file__).resolve().parents[2]))

"""What `bench.py`, `memory.py` and `sweep.py` share: servers, load clients, accounting, ratios, reports.

Standard library only. Every module also loads on its own, because `locust -f loadtest/` imports every file it
finds here.
"""

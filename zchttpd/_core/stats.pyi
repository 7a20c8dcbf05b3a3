ADMISSIONS: tuple[str, ...]
CELLS: dict[str, tuple[int, int]]
FALLBACK_REASONS: tuple[str, ...]
LATENCY_BOUNDS_US: tuple[int, ...]
LATENCY_LABELS: tuple[tuple[str, str], ...]
LEASE_BOUNDS_US: tuple[int, ...]
ROUTES: tuple[str, ...]
STATS_BYTES: int

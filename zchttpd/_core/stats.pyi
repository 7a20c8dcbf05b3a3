CELLS: dict[str, tuple[int, int]]
FALLBACK_REASONS: tuple[str, ...]
LEASE_BOUNDS_US: tuple[int, ...]
ROUTES: tuple[str, ...]
STATS_BYTES: int

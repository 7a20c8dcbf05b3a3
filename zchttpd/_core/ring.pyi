"""The ring and its ladder."""

RUNGS: dict[str, int]

def probe(without: tuple[str, ...] = ()) -> dict[str, object]: ...

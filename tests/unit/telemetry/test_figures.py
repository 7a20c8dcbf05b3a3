"""What two readings of the metrics tell of the time between them."""

from __future__ import annotations

import pytest

from zchttpd.telemetry.figures import Figures, Source

SECONDS = 2.0


def of(**pairs: tuple[float, float]) -> Figures:
    """Samples before and now; `__` stands for what a name may not have."""
    keys = {name.replace("__", ":"): values for name, values in pairs.items()}
    before, now = ({f"zchttpd_{name}": pair[at] for name, pair in keys.items()} for at in (0, 1))
    return Figures(before, now, SECONDS)


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("127.0.0.1:9100", "http://127.0.0.1:9100/metrics.json"),
        ("http://web1:9100", "http://web1:9100/metrics.json"),
        ("http://[::1]:9100/metrics", "http://[::1]:9100/metrics.json"),
        ("https://a.example/metrics.json?x", "https://a.example/metrics.json"),
    ],
)
def test_any_way_to_name_the_listener(typed: str, address: str) -> None:
    assert Source(typed).address == address


def test_counters_grow_and_one_that_began_anew_counts_from_there() -> None:
    figures = of(aborts_total=(10, 14), enters_total=(1000, 6))
    assert (figures.rate("aborts_total"), figures.rate("enters_total")) == (2, 3)
    assert (figures.rate("nothing_total"), figures.value("nothing")) == (0, 0)
    assert figures.value("aborts_total") == 14


def test_rates_by_one_label_add_up_the_others() -> None:
    now = {
        'zchttpd_x_total{mode="a",route="l"}': 10.0,
        'zchttpd_x_total{mode="a",route="n"}': 4.0,
        'zchttpd_x_total{mode="b",route="l"}': 2.0,
        'zchttpd_xx_total{mode="c"}': 99.0,
    }
    figures = Figures({'zchttpd_x_total{mode="a",route="l"}': 6.0}, now, SECONDS)
    assert figures.rates("x_total", "mode") == {"a": 4, "b": 1}
    assert figures.labels("x_total", "route") == ["l", "n"]


def test_times_are_those_of_this_while_and_the_busiest_come_first() -> None:
    def histogram(size: str, *seen: float) -> dict[str, float]:
        name = 'zchttpd_response_seconds_bucket{le="%s",size="%s",status="2xx"}'
        return dict(zip((name % (bound, size) for bound in ("0.001", "0.1", "+Inf")), seen, strict=True))

    before = {**histogram("1M", 100, 100, 100), **histogram("more", 0, 0, 5)}
    now = {
        **histogram("1M", 105, 109, 110),
        **histogram("16K", 100, 100, 100),
        **histogram("more", 0, 0, 5),
    }
    first, second = Figures(before, now, SECONDS).latencies()
    assert first == ("2xx", "16K", 50, (0.001, 0.001, 0.001))
    # Five of ten are below a millisecond, nine below a tenth of a second, and one is not.
    assert second == ("2xx", "1M", 5, (0.001, 0.1, float("inf")))

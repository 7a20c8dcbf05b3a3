"""Dates on the wire (RFC 9110 section 5.6.7), as Unix seconds."""

from __future__ import annotations

import datetime
import functools
import re
import time

DATE_SIZE = 29
# Files that came together have the same dates.
DATES_MAX = 1024

_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH_NUMBERS = {name: number for number, name in enumerate(_MONTHS, 1)}
# The first second of year 1 and the last of year 9999: what four digits can say.
_SECONDS_MIN = -62_135_596_800
_SECONDS_MAX = 253_402_300_799
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()

_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = rb"(?P<month>" + b"|".join(_MONTHS) + rb")"
_TIME = rb"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
_FORMATS = (
    re.compile(_DAY + rb", (?P<day>[0-9]{2}) " + _MONTH + rb" (?P<year>[0-9]{4}) " + _TIME + rb" GMT"),
    re.compile(
        rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>[0-9]{2})-"
        + _MONTH
        + rb"-(?P<year>[0-9]{2}) "
        + _TIME
        + rb" GMT"
    ),
    re.compile(_DAY + rb" " + _MONTH + rb" (?P<day>[0-9]{2}| [0-9]) " + _TIME + rb" (?P<year>[0-9]{4})"),
)


@functools.lru_cache(DATES_MAX)
def format_date(seconds: int) -> bytes:
    """The 29 bytes of an IMF-fixdate; outside of the years 1 to 9999, the nearest that it can say."""
    moment = time.gmtime(min(max(seconds, _SECONDS_MIN), _SECONDS_MAX))
    return b"%s, %02d %s %04d %02d:%02d:%02d GMT" % (
        _DAYS[moment.tm_wday],
        moment.tm_mday,
        _MONTHS[moment.tm_mon - 1],
        moment.tm_year,
        moment.tm_hour,
        moment.tm_min,
        moment.tm_sec,
    )


def parse_date(value: bytes) -> int | None:
    """Seconds of an HTTP-date in any of its three formats; None when it is none, or no day there is."""
    for form in _FORMATS:
        match = form.fullmatch(value)
        if match is not None:
            break
    else:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year = _full_year(year, time.gmtime().tm_year)
    try:
        day = datetime.date(year, _MONTH_NUMBERS[match["month"]], int(match["day"])).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return ((day * 24 + int(match["hour"])) * 60 + int(match["minute"])) * 60 + int(match["second"])


def _full_year(digits: int, year_now: int) -> int:
    # More than 50 years ahead means the past (RFC 9110 section 5.6.7).
    year = year_now - year_now % 100 + digits
    return year - 100 if year > year_now + 50 else year

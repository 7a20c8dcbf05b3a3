"""The Date field value (IMF-fixdate, RFC 9110 section 5.6.7), formatted once a second."""

from libc.stdint cimport int64_t
from libc.string cimport memcpy

cdef const char* DAYS = b"ThuFriSatSunMonTueWed"
cdef const char* MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"


cdef inline void _two(char* at, int64_t number) noexcept nogil:
    at[0] = <char>(48 + number // 10)
    at[1] = <char>(48 + number % 10)


cdef void http_date_set(HttpDate* date, int64_t second) noexcept nogil:
    """Format `second` (Unix time, 0 <= second < year 10000) unless it is what the date already shows."""
    if date.second == second and date.text[0] != 0:
        return
    date.second = second
    cdef int64_t days = second // 86400
    cdef int64_t rest = second % 86400
    # Days to civil date, with years that begin in March so that leap days come last.
    cdef int64_t shifted = days + 719468
    cdef int64_t era = shifted // 146097
    cdef int64_t day_of_era = shifted - era * 146097
    cdef int64_t year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    cdef int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    cdef int64_t march_month = (5 * day_of_year + 2) // 153
    cdef int64_t day = day_of_year - (153 * march_month + 2) // 5 + 1
    cdef int64_t month = march_month + 3 if march_month < 10 else march_month - 9
    cdef int64_t year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    cdef char* text = date.text
    memcpy(text, DAYS + 3 * (days % 7), 3)
    memcpy(text + 3, b", ", 2)
    _two(text + 5, day)
    text[7] = b' '
    memcpy(text + 8, MONTHS + 3 * (month - 1), 3)
    text[11] = b' '
    _two(text + 12, year // 100)
    _two(text + 14, year % 100)
    text[16] = b' '
    _two(text + 17, rest // 3600)
    text[19] = b':'
    _two(text + 20, rest // 60 % 60)
    text[22] = b':'
    _two(text + 23, rest % 60)
    memcpy(text + 25, b" GMT", 4)

"""Access logs of web servers, in the Common and the Combined Log Format.

GET and HEAD read; PUT, POST and PATCH write, DELETE deletes, unless the status says that it was
refused (400 and above). Other methods, and requests that are none, are ignored. The key is the
path as it stands in the log, with its query, since that names another object. The size is that of
an answer with the status 200; other answers don't tell it. What comes before the brackets (a
virtual host, say) and after the size (referrer, agent) is not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from statecache.study.traces.blocks import Block
from statecache.study.traces.rows import (
    UNKNOWN_SIZE,
    LineError,
    Operation,
    Rows,
    are_mostly,
    rows_by_line,
    shown,
)
from statecache.study.traces.trace import DELETE, READ, WRITE

__all__ = ["read_access_log", "recognises_access_log"]

_LINE: Final = re.compile(
    rb'[^"\[]+\[([^\]]{1,40})\] "([^"\\]*(?:\\.[^"\\]*)*)" (\d{3}) (\d{1,15}|-)(?: .*)?', re.DOTALL
)
_TIME: Final = re.compile(
    r"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)", re.ASCII
)
_METHODS: Final = {
    b"GET": READ,
    b"HEAD": READ,
    b"PUT": WRITE,
    b"POST": WRITE,
    b"PATCH": WRITE,
    b"DELETE": DELETE,
}
# English whatever the locale is
_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)


def recognises_access_log(lines: list[bytes]) -> bool:
    """Return whether most of the lines are such a log's."""
    return are_mostly(lines, _LINE)


def read_access_log(block: Block) -> Rows:
    """Return a block's operations."""
    return rows_by_line(block, _operations)


def _operations(line: bytes) -> Iterator[Operation]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise LineError(f"{shown(line)} is no line of an access log")
    instant, request, status, size = found.groups()
    time_s = _seconds(instant)
    method, _, rest = request.partition(b" ")
    path = rest.partition(b" ")[0]
    op = _METHODS.get(method)
    if op is None or not path or (op != READ and status >= b"400"):
        return
    tells_size = op == READ and method == b"GET" and status == b"200" and size != b"-"
    key = path.decode("utf-8", "backslashreplace")
    yield time_s, key, op, int(size) if tells_size else UNKNOWN_SIZE


@lru_cache(maxsize=4096)
def _seconds(instant: bytes) -> float:
    """Return the seconds since 1970 of a time with its zone; the log's are to the second."""
    found = _TIME.fullmatch(instant.decode("latin-1"))
    problem = LineError(f"{shown(instant)} is no time of an access log")
    if found is None or found[2] not in _MONTHS or int(found[6]) > 60:  # a leap second is 60
        raise problem
    day, year, hour, minute, second = (int(found[place]) for place in (1, 3, 4, 5, 6))
    away_s = 3600 * int(found[8]) + 60 * int(found[9])
    try:
        begins = datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, tzinfo=UTC)
    except ValueError:
        raise problem from None
    return begins.timestamp() + second + (away_s if found[7] == "-" else -away_s)

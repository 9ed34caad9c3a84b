"""Twitter's cache traces: seven columns without names.

Timestamp in seconds, anonymised key, key size, value size, client, operation, TTL. ``get`` and
``gets`` read, ``delete`` deletes, and whatever makes a new value writes: ``set``, ``add``,
``replace``, ``cas``, ``append``, ``prepend``, ``incr``, ``decr``. Whether an ``add`` or ``cas``
succeeded is not recorded; they count as if. Keys may hold commas. The TTL is not used.
"""

from __future__ import annotations

import re
from typing import Final

from statecache.study.traces.cutting import Dialect
from statecache.study.traces.delimited import Delimited
from statecache.study.traces.layout import Columns, Layout
from statecache.study.traces.operations import MEMCACHED
from statecache.study.traces.rows import are_mostly

__all__ = ["open_twitter", "recognises_twitter"]

_LINE: Final = re.compile(
    rb"\d+(\.\d+)?,.*,\d+,\d+,[^,]*,(%s),\d+" % "|".join(MEMCACHED).encode(), re.IGNORECASE
)


def recognises_twitter(lines: list[bytes]) -> bool:
    """Return whether most of the lines are such a trace's."""
    return are_mostly(lines, _LINE)


def open_twitter(_lines: list[bytes], _columns: Columns | None) -> Delimited:
    """Return how to read such a trace."""
    return Delimited(
        dialect=Dialect(width=7, quoted=False, joins_key=True),
        layout=Layout(time=0, key=1, op=5, size=3),
        unit="s",
        misses_are_empty=True,
    )

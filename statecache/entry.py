"""The wire format of a cache entry.

An entry is one plain Redis string, so that a read is one GET::

    0006459a3c1f2b07  J     019ab12c4de   {"count":7}
    version, 16 hex   kind  ms, 11 hex    payload

The version is the row's. Versions are fixed-width hexadecimal because Lua compares them as
strings: its numbers are doubles and lose whole numbers beyond 2^53. The milliseconds are of the
cache server's clock, which writes them itself: when the entry expires, for a fence when it was set.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["FENCE", "NONE", "PACKED", "STATE", "TOMBSTONE", "Entry", "format_head", "parse_entry"]

#: The payload is the state: the JSON text that PostgreSQL returns, without its spaces.
STATE: Final = b"J"
#: The same, compressed.
PACKED: Final = b"Z"
#: There is no such state (a negative entry).
NONE: Final = b"N"
#: A delete happened at this version: a reader is to ask PostgreSQL, and only newer may follow.
TOMBSTONE: Final = b"D"
#: The row has at least this version: a reader is to ask PostgreSQL, and what anybody learnt, or
#: began to write, before the fence was set may not follow.
FENCE: Final = b"F"

HEADER: Final = 28
#: A bigint's first digit is at most 7; anything above is junk that would be newest for ever.
_HEAD = re.compile(rb"([0-7][0-9a-f]{15})([JZNDF])([0-9a-f]{11})")


class Entry(NamedTuple):
    """A parsed entry: the row's version, the kind (one byte), milliseconds and the payload."""

    version: int
    kind: bytes
    time_ms: int
    payload: bytes


def format_head(version: int, kind: bytes) -> bytes:
    """Return the part of an entry that the client writes; ``version`` is a bigint, not negative."""
    return b"%016x%b" % (version, kind)


def parse_entry(raw: bytes) -> Entry | None:
    """Return the entry, or ``None`` where the bytes are not one of ours."""
    head = _HEAD.match(raw)
    if head is None:
        return None
    version, kind, time_ms = head.groups()
    return Entry(int(version, 16), kind, int(time_ms, 16), raw[HEADER:])

"""The wire format of a cache entry.

An entry is one plain Redis string, so that a read is one GET::

    0000000000000007  J       {"count": 7}
    version, 16 hex   kind    payload, the JSON text as PostgreSQL returns it

Versions are fixed-width hexadecimal because Lua compares them as strings: its numbers are doubles
and lose whole numbers beyond 2^53.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["STATE", "TOMBSTONE", "Entry", "format_entry", "parse_entry"]

#: The payload is the state.
STATE: Final = b"J"
#: A delete happened at this version; a reader is to ask PostgreSQL.
TOMBSTONE: Final = b"D"

_HEADER = 17
_KINDS = STATE + TOMBSTONE
_HEX = frozenset(b"0123456789abcdef")


class Entry(NamedTuple):
    """A parsed entry: the row's version, the kind (one byte) and the payload."""

    version: int
    kind: bytes
    payload: bytes


def format_entry(version: int, kind: bytes, payload: bytes = b"") -> bytes:
    """Return the entry's bytes; ``version`` is a positive bigint."""
    return b"%016x%b%b" % (version, kind, payload)


def parse_entry(raw: bytes) -> Entry | None:
    """Return the entry, or ``None`` where the bytes are not one of ours."""
    head, kind = raw[:16], raw[16:_HEADER]
    # A bigint's first digit is at most 7; anything above is junk that would be newest for ever.
    if len(kind) != 1 or kind not in _KINDS or not _HEX.issuperset(head) or head[:1] > b"7":
        return None
    return Entry(int(head, 16), kind, raw[_HEADER:])

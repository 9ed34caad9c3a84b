"""Which column of a table holds what, by what the user says or by common names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from statecache.study.traces.times import UNITS, Unit
from statecache.study.traces.trace import TraceError

__all__ = ["Columns", "Layout", "find_columns", "normal"]

Columns: TypeAlias = Mapping[str, str | int | None]
"""What the user says: ours (``time_s``, ``time_ms``, ``time_us``, ``time_ns``, ``time``, ``key``,
``op``, ``size``, ``armed_s``, and ``count``, of how many operations a line tells) to the file's
column: its name, its number from 1, or None where there is none."""

_NAMES: Final = {
    role: tuple(names.split())
    for role, names in {
        "time": "time timestamp ts datetime date_time event_time event_ts op_time created_at at "
        "date t",
        "key": "key cache_key key_id object_id obj_id item_id trigger_id anonymized_key object "
        "item id path url uri name",
        "op": "op operation op_type operation_type method http_method verb command cmd action "
        "request_type",
        "size": "size value_size val_size obj_size object_size size_bytes bytes length "
        "content_length body_bytes_sent",
        "armed_s": "armed_s",
        "count": "op_count",
    }.items()
}


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of the columns, from 0, and the unit of time where the name tells it."""

    time: int
    key: int
    op: int | None = None
    size: int | None = None
    armed_s: int | None = None
    count: int | None = None
    unit: Unit | None = None


def find_columns(names: Sequence[str], columns: Columns | None = None) -> Layout:
    """Return where the columns of a trace stand among these.

    Raises TraceError where time or key is not found, or a column that the user named is not there.
    """
    places, unit = _given(names, columns or {})
    normals = [normal(name) for name in names]
    if "time" not in places:
        places["time"], unit = _recognised_time(normals)
    for role, known in _NAMES.items():
        if role not in places:
            places[role] = next((normals.index(name) for name in known if name in normals), None)
    time, key = places["time"], places["key"]
    if time is None or key is None:
        missing = "time_s" if time is None else "key"
        raise TraceError(
            f"A trace needs the column {missing!r}, which is not among {_list(names)}: say which "
            f"it is, as in columns={{{missing!r}: {names[0] if names else 'its name'!r}}}."
        )
    return Layout(time, key, places["op"], places["size"], places["armed_s"], places["count"], unit)


def normal(name: str) -> str:
    """Return a column's name in small letters, its words joined by underscores."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def _given(names: Sequence[str], columns: Columns) -> tuple[dict[str, int | None], Unit | None]:
    places: dict[str, int | None] = {}
    unit: Unit | None = None
    for ours, theirs in columns.items():
        base, _, ending = ours.partition("_")
        role = "time" if base == "time" and (not ending or ending in UNITS) else ours
        if role not in _NAMES:
            raise TraceError(
                f"A trace has no column {ours!r}: map time_s (or time_ms, time_us, time_ns, time), "
                "key, op, size, count or armed_s."
            )
        if role == "time":
            unit = UNITS[ending] if ending else None
        places[role] = None if theirs is None else _place(names, theirs)
    return places, unit


def _place(names: Sequence[str], theirs: str | int) -> int:
    if isinstance(theirs, str) and theirs in names:
        return names.index(theirs)
    number = int(theirs) if str(theirs).isascii() and str(theirs).isdigit() else 0
    if 1 <= number <= len(names):
        return number - 1
    raise TraceError(f"The column {theirs!r} is not there: choose among {_list(names)}.")


def _recognised_time(normals: Sequence[str]) -> tuple[int | None, Unit | None]:
    found: dict[str, tuple[int, Unit | None]] = {}
    for place, name in enumerate(normals):
        base, _, ending = name.rpartition("_")
        unit = UNITS.get(ending) if base else None
        found.setdefault(base if unit else name, (place, unit))
    return next((found[name] for name in _NAMES["time"] if name in found), (None, None))


def _list(names: Sequence[str]) -> str:
    """Return names as a message shows them, not all where they are many."""
    shown = ", ".join(name[:40] for name in names[:20])
    return (shown + ", …" if len(names) > 20 else shown) or "no columns"

"""Random operations, and writers of every format that can hold them."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from statecache.study.traces import DELETE, OPERATIONS, READ, WRITE, Trace


class Operation(NamedTuple):
    time_s: float
    key: str
    op: int
    size: int


#: No control characters, and no space, which ends the path in an access log.
_KEYS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]),
    min_size=1,
    max_size=8,
)
_OPS = st.sampled_from([READ, WRITE, DELETE])


def streams(
    *, whole_seconds: bool = False, keys: st.SearchStrategy[str] = _KEYS
) -> st.SearchStrategy[list[Operation]]:
    """Draw streams in any order of time; times are to the microsecond, or to the second."""
    micros = st.integers(0, 2_000_000_000 * 10**6)
    times = (
        st.integers(0, 2_000_000_000).map(float)
        if whole_seconds
        else micros.map(lambda us: us / 1e6)
    )
    operation = st.builds(Operation, times, keys, _OPS, st.integers(1, 10**9))
    return st.lists(operation, min_size=1, max_size=30)


def rows_of(trace: Trace, *, sizes: bool = True) -> list[Operation]:
    """Return a trace's operations with their names."""
    names = trace.key.tolist() if trace.keys is None else trace.keys[trace.key].tolist()
    size = trace.size.tolist() if sizes and trace.size is not None else [0] * len(trace)
    return list(map(Operation, trace.time_s.tolist(), names, trace.op.tolist(), size))


def in_order(operations: Iterable[Operation], *, sizes: bool = True) -> list[Operation]:
    """Return operations in order of time; ties keep theirs."""
    ordered = sorted(operations, key=lambda one: one.time_s)
    return ordered if sizes else [one._replace(size=0) for one in ordered]


def compressed(data: bytes, how: str | None) -> bytes:
    """Return data as they stand in a file, plain or compressed."""
    if how == "gzip":
        return gzip.compress(data)
    if how == "zstd":
        return pa.compress(data, "zstd", asbytes=True)
    return data


def write(path: Path, lines: Iterable[str], how: str | None = None, end: str = "\n") -> Path:
    """Write lines to a file and return it."""
    path.write_bytes(compressed("".join(line + end for line in lines).encode(), how))
    return path


def quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def csv_lines(operations: Iterable[Operation]) -> list[str]:
    return [
        "time_s,key,op,size",
        *(f"{o.time_s!r},{quoted(o.key)},{OPERATIONS[o.op]},{o.size}" for o in operations),
    ]


def twitter_lines(operations: Iterable[Operation]) -> list[str]:
    words = {READ: "gets", WRITE: "cas", DELETE: "delete"}
    return [f"{o.time_s:.6f},{o.key},{len(o.key)},{o.size},c7,{words[o.op]},0" for o in operations]


def cachelib_lines(operations: Iterable[Operation], order: str) -> list[str]:
    words = {READ: "GET_LEASE", WRITE: "SET", DELETE: "DELETE"}
    cells = (
        {
            "op_time": repr(o.time_s),
            "key": quoted(o.key),
            "op": words[o.op],
            "size": str(o.size),
            "op_count": "1",
            "ttl": "0",
        }
        for o in operations
    )
    return [order, *(",".join(row[name] for name in order.split(",")) for row in cells)]


def access_log_lines(operations: Iterable[Operation], *, combined: bool) -> list[str]:
    methods = {READ: "GET", WRITE: "PUT", DELETE: "DELETE"}
    tail = ' "-" "curl/8 \\"x\\""' if combined else ""
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    lines = []
    for o in operations:
        at = datetime.fromtimestamp(o.time_s, UTC)
        stamp = f"{at.day:02}/{months[at.month - 1]}/{at.year}:{at:%H:%M:%S} +0000"
        lines.append(f'::1 - eve [{stamp}] "{methods[o.op]} /{o.key} HTTP/1.1" 200 {o.size}{tail}')
    return lines


def monitor_lines(operations: Iterable[Operation]) -> list[str]:
    def command(o: Operation) -> str:
        if o.op == WRITE:
            return f'"set" {escaped(o.key.encode())} {escaped(b"x" * (o.size % 50))} "ex" "9"'
        return f'"{"get" if o.op == READ else "UNLINK"}" {escaped(o.key.encode())}'

    return [
        "OK",
        *(f"{o.time_s:.6f} [0 [::1]:6{o.size % 1000:03}] {command(o)}" for o in operations),
    ]


def escaped(value: bytes) -> str:
    """Quote a value as Redis prints it."""
    short = {0x22: '\\"', 0x5C: "\\\\", 10: "\\n", 13: "\\r", 9: "\\t", 7: "\\a", 8: "\\b"}
    shown = (short.get(b) or (chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in value)
    return '"' + "".join(shown) + '"'


def slt_bytes(pairs: Iterable[tuple[int, int]]) -> bytes:
    return np.array(list(pairs), dtype=">i4").tobytes()


Lines = Callable[[list[Operation]], list[str]]

#: Every text format by its name, with a writer of its lines.
TEXT_FORMATS: dict[str, Lines] = {
    "csv": csv_lines,
    "twitter": twitter_lines,
    "cachelib": lambda operations: cachelib_lines(operations, "op_time,key,op,op_count,size,ttl"),
    "access-log": lambda operations: access_log_lines(operations, combined=True),
    "monitor": monitor_lines,
}

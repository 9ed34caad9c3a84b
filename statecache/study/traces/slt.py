"""cache2k's ``.slt``: pairs of big-endian 32-bit integers, second since the start and key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from statecache.study.traces.blocks import read_chunks
from statecache.study.traces.rows import Malformed, Rows, Tally
from statecache.study.traces.trace import READ

__all__ = ["read_slt", "recognises_slt"]

_PAIR = 8


def recognises_slt(head: bytes) -> bool:
    """Return whether the first bytes can be such pairs: their times do not go back."""
    pairs = np.frombuffer(head[: len(head) // _PAIR * _PAIR], ">i4").reshape(-1, 2)
    times = pairs[:, 0]
    return bool(b"\0" in head and times.size and times[0] >= 0 and np.all(np.diff(times) >= 0))


def read_slt(path: Path) -> Iterator[tuple[float, Rows]]:
    """Yield the share read and its operations, all of them reads; keys are their own codes."""
    rest, read = b"", 0
    for data, share, broken in read_chunks(path):
        whole = len(rest + data) // _PAIR * _PAIR
        whole_data, rest = (rest + data)[:whole], (rest + data)[whole:]
        pairs = np.frombuffer(whole_data, ">i4").reshape(-1, 2)
        good = pairs[:, 0] >= 0
        tally = Tally(len(pairs))
        if not np.all(good):
            row = int(np.argmin(good))
            reason = f"the time {pairs[row, 0]} is negative"
            count = int(np.count_nonzero(~good))
            tally = Tally(len(pairs), 0, count, Malformed(read + row + 1, reason))
        read += len(pairs)
        if broken is not None:
            tally += Tally.of_faults([(read + 1, broken)])
            rest = b""
        yield share, _rows(pairs[good], tally)
    if rest:
        tally = Tally.of_faults([(read + 1, f"{len(rest)} bytes, not {_PAIR}")])
        yield 1.0, _rows(np.empty((0, 2), ">i4"), tally)


def _rows(pairs: np.ndarray[tuple[int, ...], np.dtype[np.int32]], tally: Tally) -> Rows:
    return Rows(
        time_s=pairs[:, 0].astype(np.float64),
        key=pairs[:, 1].astype(np.int32),
        op=np.full(len(pairs), READ, dtype=np.uint8),
        tally=tally,
    )

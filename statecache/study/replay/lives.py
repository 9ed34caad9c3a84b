"""The lives of entries as a table, for kernels that list them: one column per life."""

# ruff: noqa: PLR0917 - a kernel takes its columns one by one, by position
from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from statecache.study import jit

__all__ = ["BEGIN", "BYTES", "END", "LIFE_ROWS", "OUTLIVED", "note_life"]

BEGIN: Final = 0  # seconds
END: Final = 1
BYTES: Final = 2
OUTLIVED: Final = 3  # 1 where the entry was there until its TTL or the trace ended, 0 if replaced
LIFE_ROWS: Final = 4


@jit.part
def note_life(
    lives: NDArray[np.float64],
    place: int,
    begin: float,
    close: float,
    ttl: float,
    size: int,
    at_horizon: bool,
) -> int:
    """List a life that ends at ``close`` or by its TTL; returns how many were listed, 0 or 1."""
    if close < begin:
        return 0
    life = min(ttl, close - begin)
    lives[BEGIN, place] = begin
    lives[END, place] = begin + life
    lives[BYTES, place] = size
    lives[OUTLIVED, place] = at_horizon or life < close - begin
    return 1

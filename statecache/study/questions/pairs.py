"""Cells of a campaign compared in pairs: only cells of the same block, under the same conditions.

``cells`` is the frame of ``harness.campaign.Measurements``; conditions are named by their cell.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pandas as pd

from statecache.study.harness.variants import GATHER, NONE
from statecache.study.intervals import Interval, ratio_interval

__all__ = [
    "JUDGED_PROFILES",
    "average",
    "columns",
    "middle",
    "ratio",
    "same_gathering",
    "saved",
]

#: The deployment profiles in which claims of throughput are judged.
JUDGED_PROFILES: Final = ("loopback", "documented")


def ratio(
    cells: pd.DataFrame, ours: str, theirs: str, column: str, level: float = 0.95
) -> Interval:
    """Return our value over theirs: geometric mean over the blocks, with its paired t interval.

    NaN where somebody did not count, or counted nothing.
    """
    pairs = pd.DataFrame({"ours": _values(cells, ours, column)})
    pairs["theirs"] = _values(cells, theirs, column)
    if not len(pairs) or not ((pairs > 0) & np.isfinite(pairs)).to_numpy().all():
        return Interval(math.nan, math.nan, math.nan)
    return ratio_interval(pairs["ours"].tolist(), pairs["theirs"].tolist(), level)


def saved(
    cells: pd.DataFrame, ours: str, theirs: str, column: str, level: float = 0.95
) -> Interval:
    """Return the share of theirs that we do without: 1 less the ratio."""
    found = ratio(cells, ours, theirs, column, level)
    return Interval(1 - found.mean, 1 - found.high, 1 - found.low)


def average(cells: pd.DataFrame, cell: str, column: str, level: float = 0.95) -> Interval:
    """Return the geometric mean of a condition's values over the blocks, with its t interval."""
    values = _values(cells, cell, column)
    if not len(values) or not ((values > 0) & np.isfinite(values)).all():
        return Interval(math.nan, math.nan, math.nan)
    return ratio_interval(values.tolist(), [1.0] * len(values), level)


def middle(cells: pd.DataFrame, cell: str, column: str) -> float:
    """Return the arithmetic mean over the blocks, for what may be 0; NaN where nobody counted."""
    return float(_values(cells, cell, column).mean())


def columns(name: str, interval: Interval) -> dict[str, float]:
    """Return an interval as three columns: the name, and the name with ``_low`` and ``_high``."""
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def same_gathering(mechanisms: str) -> str:
    """Return the variant without a cache that gathers as this one does."""
    return GATHER.name if mechanisms.startswith(GATHER.name) else NONE.name


def _values(cells: pd.DataFrame, cell: str, column: str) -> pd.Series:
    """Return the values by block."""
    return cells[cells["cell"] == cell].set_index("block")[column].sort_index().astype(float)

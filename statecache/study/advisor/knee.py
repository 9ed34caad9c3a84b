"""The knee of a curve: where it stops paying to go on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["knee"]

#: The curve is looked at between these shares of its rise; flat ends do not count.
_FROM, _TO = 0.01, 0.99
#: A curve that rises by less has no knee, nor has one that is nowhere this far above its chord.
_LEAST_RISE = 0.001
_LEAST_HEIGHT = 0.02


def knee(ttls: NDArray[np.float64], hit_rates: NDArray[np.float64]) -> int | None:
    """Return the place of the knee, or None where the curve is flat, straight or bends upwards.

    Kneedle (Satopää, Albrecht, Irwin, Raghavan, "Finding a 'Kneedle' in a Haystack", ICDCS
    Workshops 2011): both axes are brought to 0..1, and the knee is where the curve is highest above
    the diagonal. Here the horizontal axis is the logarithm of the TTL, since TTLs are compared by
    their ratio, and the curve is taken from 1 % to 99 % of its rise, so that the knee does not
    depend on how far the grid goes. The curve is exact, so nothing is smoothed, and of several
    knees it is the most marked.
    """
    rise = np.maximum.accumulate(hit_rates)
    total = rise[-1] - rise[0]
    if not total >= _LEAST_RISE:
        return None
    share = (rise - rise[0]) / total
    first = max(0, int(np.searchsorted(share, _FROM, side="right")) - 1)
    last = int(np.searchsorted(share, _TO))
    x, y = np.log(ttls[first : last + 1]), rise[first : last + 1]
    if x.size < 3:  # all of the rise within one step of the grid
        return first + x.size - 1
    above = (y - y[0]) / (y[-1] - y[0]) - (x - x[0]) / (x[-1] - x[0])
    place = int(np.argmax(above))
    return first + place if above[place] >= _LEAST_HEIGHT else None

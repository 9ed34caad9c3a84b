"""Times and sizes, written as one would say them."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["duration", "size"]

_TIMES: Final = ((172_800, 86_400, "d"), (7_200, 3_600, "h"), (120, 60, "min"), (1, 1, "s"))
_SIZES: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB"), (1, "B"))


def duration(seconds: float) -> str:
    """Return a time in the unit that one would use, as ``90 s``, ``8 min``, ``3.97 h``."""
    if math.isinf(seconds):
        return "without end"
    for least, unit, name in _TIMES:
        if seconds >= least:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1000:.3g} ms"


def size(count: float) -> str:
    """Return bytes, as ``1.2 GB``; a dash where they are unknown."""
    if math.isnan(count):
        return "–"
    scale, name = next((one for one in _SIZES if count >= one[0]), _SIZES[-1])
    return f"{count / scale:.3g} {name}"

"""What an operator can promise about a cache: the limits that a TTL has to meet."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study.errors import StudyError

__all__ = ["Limit", "LimitError", "Limits", "parse_bytes", "parse_share", "parse_staleness"]

Unit = Literal["a second", "share", "seconds", "bytes"]

_SECONDS: Final = {"ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_BYTES: Final = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12} | {
    f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)
}
_QUANTITY: Final = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z%]*)\s*")


class LimitError(StudyError):
    """A limit that means nothing; the message names it, its value and what to give."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: what stands in a column of the curve is at most (or at least) the bound."""

    name: str
    #: What it limits, for sentences.
    what: str
    column: str
    bound: float
    unit: Unit
    at_least: bool = False

    def met(self, curve: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows of a curve meet it; what is not known meets nothing."""
        values = curve[self.column].to_numpy(dtype=np.float64)
        return np.asarray(values >= self.bound if self.at_least else values <= self.bound)

    def excess(self, value: float) -> float:
        """Return by how much a value misses the bound, in its own unit; at most 0 if it is met."""
        return self.bound - value if self.at_least else value - self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is promised; ``None`` promises nothing.

    ``max_db_qps``       PostgreSQL statements a second, averaged over the trace
    ``min_hit_rate``     share of the reads that hit
    ``max_stale_share``  share of the hits that serve an older state than PostgreSQL holds, where a
                         known share of the writes bypasses the cache (``bypass_share``)
    ``max_stale_s``      seconds for which an entry that missed a write can go on being wrong: with
                         a fixed TTL that is the TTL, however few writes are lost
    ``max_memory_bytes`` of the entries within their TTL, averaged over the trace

    The two limits on staleness answer two questions: how often is somebody told something old, and
    for how long. Raises LimitError for a value out of range.
    """

    max_db_qps: float | None = None
    min_hit_rate: float | None = None
    max_stale_share: float | None = None
    max_stale_s: float | None = None
    max_memory_bytes: float | None = None

    def __post_init__(self) -> None:
        for limit in self.given:
            highest = 1.0 if limit.unit == "share" else math.inf
            if not (0 <= limit.bound <= highest) or math.isinf(limit.bound):
                allowed = "0 to 1 (0 % to 100 %)" if limit.unit == "share" else "0 or more"
                raise LimitError(f"{limit.name} is {limit.bound}: give {allowed}.")

    @property
    def given(self) -> list[Limit]:
        """The limits that were given."""
        known = [
            ("max-db-qps", "database statements", "db_qps", self.max_db_qps, "a second"),
            ("min-hit-rate", "hit rate", "hit_rate", self.min_hit_rate, "share"),
            ("max-staleness", "stale hits", "stale_share", self.max_stale_share, "share"),
            ("max-staleness", "staleness", "stale_at_most_s", self.max_stale_s, "seconds"),
            ("max-memory", "memory", "memory_bytes", self.max_memory_bytes, "bytes"),
        ]
        return [
            Limit(name, what, column, float(bound), unit, at_least=name == "min-hit-rate")  # type: ignore[arg-type]
            for name, what, column, bound, unit in known
            if bound is not None
        ]


def parse_share(text: str, name: str) -> float:
    """Return ``80%`` or ``0.8`` as a share. Raises LimitError."""
    number, unit = _quantity(text, name, "a share such as 80% or 0.8")
    if unit not in ("", "%"):
        raise LimitError(f"{name} is {text!r}: give a share such as 80% or 0.8.")
    share = number / 100 if unit else number
    if share > 1:
        raise LimitError(f"{name} is {text!r}, more than all: give a share such as 80% or 0.8.")
    return share


def parse_staleness(text: str) -> dict[str, float]:
    """Return ``1%`` as max_stale_share, and ``30s`` (ms, s, min, h, d) as max_stale_s.

    A number without a unit could mean either and is refused. Raises LimitError.
    """
    allowed = "a share of the hits such as 1%, or a time such as 30s, 5min or 2h"
    number, unit = _quantity(text, "max-staleness", allowed)
    if unit == "%":
        return {"max_stale_share": parse_share(text, "max-staleness")}
    if unit not in _SECONDS:
        raise LimitError(f"max-staleness is {text!r}: give {allowed}.")
    return {"max_stale_s": number * _SECONDS[unit]}


def parse_bytes(text: str, name: str) -> float:
    """Return ``2GB`` or ``512MiB`` in bytes. Raises LimitError."""
    allowed = "bytes such as 500MB, 2GB or 512MiB"
    number, unit = _quantity(text, name, allowed)
    if unit not in _BYTES:
        raise LimitError(f"{name} is {text!r}: give {allowed}.")
    return float(number * _BYTES[unit])


def _quantity(text: str, name: str, allowed: str) -> tuple[float, str]:
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise LimitError(f"{name} is {text!r}: give {allowed}.")
    return float(found[1]), found[2]

"""Choosing a TTL: the curve, its knee, what each limit excludes, and what gives if none is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study.advisor.curve import CurveOf, refined
from statecache.study.advisor.knee import knee
from statecache.study.advisor.limits import Limit, Limits

__all__ = ["Choice", "Exclusion", "Shortfall", "choose", "choose_from"]

#: Where there is no knee, the shortest TTL that gets this share of all that a TTL can give.
_ENOUGH: Final = 0.99


@dataclass(frozen=True, slots=True)
class Exclusion:
    """The TTLs that a limit excludes, as stretches (from, to) of the curve, in seconds."""

    limit: Limit
    stretches: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """How close to a limit one gets while all the others are met.

    ``best`` is what the limited quantity comes to then, at ``ttl_s``; ``by`` what is missing.
    """

    limit: Limit
    best: float
    ttl_s: float
    by: float


@dataclass(frozen=True, slots=True)
class Choice:
    """A TTL, or none, and the curve that it is read off.

    ``curve`` has the columns of ``curve.curve_of`` and ``meets``, whether all limits are met; it is
    ascending in ttl_s. ``place`` is the row of the TTL chosen, or, where no TTL meets all limits,
    of the one that misses them by least, relative to each bound. ``shortfalls`` is empty where
    limits are met, and also where three or more limits exclude each other in pairs.
    """

    curve: pd.DataFrame
    place: int
    knee_place: int | None
    feasible: bool
    exclusions: tuple[Exclusion, ...]
    shortfalls: tuple[Shortfall, ...]

    @property
    def row(self) -> pd.Series:
        """What the chosen TTL gives."""
        return self.curve.iloc[self.place]

    @property
    def ttl_s(self) -> float:
        """The chosen TTL, in seconds."""
        return float(self.row["ttl_s"])

    @property
    def knee_s(self) -> float | None:
        """The knee, in seconds."""
        if self.knee_place is None:
            return None
        return float(self.curve["ttl_s"].iloc[self.knee_place])


def choose(curve_of: CurveOf, ttls: NDArray[np.float64], limits: Limits) -> Choice:
    """Choose on a grid, which is refined once around the knee and wherever a limit begins."""
    coarse = curve_of(ttls)
    places = set(_edges(coarse, limits))
    if (bend := _bend(coarse)) is not None:
        places.add(bend)
    finer = refined(ttls, places)
    curve = coarse if not finer.size else pd.concat([coarse, curve_of(finer)])
    return choose_from(curve.sort_values("ttl_s", ignore_index=True), limits)


def choose_from(curve: pd.DataFrame, limits: Limits) -> Choice:
    """Choose among the rows of a curve, ascending in ttl_s.

    It is the knee, or, of the TTLs that meet all limits, the one with the smallest ratio to it.
    """
    met = [limit.met(curve) for limit in limits.given]
    meets = np.logical_and.reduce(met, axis=0) if met else np.ones(len(curve), bool)
    bend = _bend(curve)
    if meets.any():
        target = bend if bend is not None else _enough(curve)
        away = np.abs(np.log(curve["ttl_s"].to_numpy() / curve["ttl_s"].iloc[target]))
        place = int(np.argmin(np.where(meets, away, np.inf)))
    else:
        place = _least_missing(curve, limits)
    return Choice(
        curve=curve.assign(meets=meets),
        place=place,
        knee_place=bend,
        feasible=bool(meets.any()),
        exclusions=tuple(
            Exclusion(limit, _stretches(curve["ttl_s"].to_numpy(), ~one))
            for limit, one in zip(limits.given, met, strict=True)
        ),
        shortfalls=() if meets.any() else _shortfalls(curve, limits, met),
    )


def _bend(curve: pd.DataFrame) -> int | None:
    rates = curve["hit_rate"].to_numpy()
    return knee(curve["ttl_s"].to_numpy(), rates) if np.isfinite(rates).all() else None


def _enough(curve: pd.DataFrame) -> int:
    """Return the place of the TTL to prefer where the curve has no knee."""
    rates = curve["hit_rate"].fillna(0.0).to_numpy()
    return int(np.argmax(rates >= rates.min() + _ENOUGH * (rates.max() - rates.min())))


def _edges(curve: pd.DataFrame, limits: Limits) -> list[int]:
    """Return the places next to which a limit begins or ends to be met."""
    edges = [np.flatnonzero(np.diff(limit.met(curve).astype(int))) for limit in limits.given]
    return [int(place) for found in edges for place in (*found, *(found + 1))]


def _stretches(
    ttls: NDArray[np.float64], out: NDArray[np.bool_]
) -> tuple[tuple[float, float], ...]:
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], out, [False]]).astype(int)))
    return tuple(
        (float(ttls[first]), float(ttls[end - 1]))
        for first, end in zip(bounds[::2], bounds[1::2], strict=True)
    )


def _least_missing(curve: pd.DataFrame, limits: Limits) -> int:
    missing = [
        np.array([limit.excess(value) for value in curve[limit.column]]) / (limit.bound or 1.0)
        for limit in limits.given
    ]
    worst = np.nan_to_num(np.max(missing, axis=0), nan=np.inf, posinf=np.inf)
    return int(np.argmin(worst))


def _shortfalls(
    curve: pd.DataFrame, limits: Limits, met: list[NDArray[np.bool_]]
) -> tuple[Shortfall, ...]:
    found = []
    for place, limit in enumerate(limits.given):
        others = [one for other, one in enumerate(met) if other != place]
        left = np.logical_and.reduce(others, axis=0) if others else np.ones(len(curve), bool)
        excess = np.array([limit.excess(value) for value in curve[limit.column]])
        excess = np.where(left & np.isfinite(excess), excess, np.inf)
        best = int(np.argmin(excess))
        if np.isfinite(excess[best]):
            row = curve.iloc[best]
            found.append(
                Shortfall(limit, float(row[limit.column]), float(row["ttl_s"]), float(excess[best]))
            )
    return tuple(found)

"""The advice: a TTL, why, and what it costs to be wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from statecache.study.advisor.adaptive import Adaptive, adapt
from statecache.study.advisor.choice import Choice, choose
from statecache.study.advisor.curve import CurveOf, Policy, grid, rounded
from statecache.study.advisor.groups import Groups, best_groups
from statecache.study.advisor.halves import Halves, compare_halves
from statecache.study.advisor.limits import LimitError, Limits
from statecache.study.advisor.peaks import busiest_minute
from statecache.study.errors import StudyError
from statecache.study.traces import Trace

__all__ = ["Advice", "advise", "advise_by_curve"]


@dataclass(frozen=True, slots=True)
class Advice:
    """What is advised on a trace.

    ``around`` has the chosen TTL, its half and its double, ascending, with the columns of the
    curve. ``peak_keys`` is the most entries at any instant, ``peak_db_qps`` the statements a second
    in the busiest minute, both under the chosen TTL; NaN where that is not known. ``groups``,
    ``adaptive`` and ``halves`` are None where they have no meaning, or where nobody looked, since
    there was the curve only: ``by_curve_only``.
    """

    choice: Choice
    limits: Limits
    policy: Policy
    around: pd.DataFrame
    operations: int
    keys: int
    duration_s: float
    peak_keys: float = math.nan
    peak_db_qps: float = math.nan
    groups: Groups | None = None
    adaptive: Adaptive | None = None
    halves: Halves | None = None
    by_curve_only: bool = False

    @property
    def feasible(self) -> bool:
        """Whether a TTL of the curve meets all limits."""
        return self.choice.feasible

    @property
    def ttl_s(self) -> float:
        """The TTL to run; where the limits cannot be met, the one that misses them by least."""
        return self.choice.ttl_s

    @property
    def configuration(self) -> str:
        """The line to paste."""
        return f"STATE_CACHE_TTL_SECS={self.ttl_s:.10g}"


def advise(
    trace: Trace,
    limits: Limits | None = None,
    policy: Policy | None = None,
    on_progress: Callable[[float, str], None] = lambda _share, _what: None,
) -> Advice:
    """Advise on the TTL for a trace.

    The TTL is the knee of the curve of hit rates, or, of the TTLs that meet the limits, the one
    next to it. All of it is exact replay (``statecache.study.replay``). ``on_progress`` is told the
    share that is done, and what is being done.

    Raises LimitError for a limit that the trace or the policy has no answer to, and StudyError for
    a trace without reads or without duration.
    """
    limits, policy = limits or Limits(), policy or Policy()
    on_progress(0.0, "the curve")
    advice = advise_by_curve(
        policy.replayed(trace),
        operations=len(trace),
        keys=int(pd.unique(trace.key).size),
        duration_s=trace.duration_s,
        limits=limits,
        policy=policy,
    )
    ttls = advice.choice.curve["ttl_s"].to_numpy()
    on_progress(0.3, "the halves")
    halves = compare_halves(trace, policy, limits, ttls)
    on_progress(0.5, "groups of keys")
    groups = best_groups(trace, policy, limits, ttls, advice.ttl_s)
    on_progress(0.8, "adaptive TTLs")
    hit_rate = float(advice.choice.row["hit_rate"])
    adaptive = adapt(trace, policy, ttls, advice.ttl_s, hit_rate)
    on_progress(1.0, "done")
    peak = float(policy.over_time(trace, advice.ttl_s)["peak_keys"].max()) / policy.sample
    return replace(
        advice,
        peak_keys=peak,
        peak_db_qps=busiest_minute(trace, policy, advice.ttl_s),
        halves=halves,
        groups=groups,
        adaptive=adaptive,
        by_curve_only=False,
    )


def advise_by_curve(
    replayed: CurveOf,
    *,
    operations: int,
    keys: int,
    duration_s: float,
    limits: Limits,
    policy: Policy,
) -> Advice:
    """Advise by what replays a trace, wherever that is done; of halves and groups it says nothing.

    Raises like :func:`advise`.
    """
    _check_limits(limits, policy)
    choice = choose(replayed, grid(duration_s, limits.max_stale_s), limits)
    _check_curve(choice.curve, limits)
    around = replayed(rounded(choice.ttl_s * np.array([0.5, 1.0, 2.0])))
    return Advice(choice, limits, policy, around, operations, keys, duration_s, by_curve_only=True)


def _check_limits(limits: Limits, policy: Policy) -> None:
    if limits.max_stale_share is not None and not policy.can_be_stale:
        raise LimitError(
            "max-staleness is a share of the hits, and no write bypasses the cache: give the "
            "bypass-share too (writes that never reach the cache), or the staleness in seconds."
        )
    if limits.max_stale_s is not None and policy.expiry == "sliding":
        raise LimitError(
            f"max-staleness is {limits.max_stale_s:g} s, and expiry is sliding: what is read often "
            "never expires, so no TTL bounds how long it is wrong: take fixed expiry."
        )


def _check_curve(curve: pd.DataFrame, limits: Limits) -> None:
    if not curve["reads"].iloc[0]:
        raise StudyError("The trace has no reads: a cache has nothing to answer.")
    if limits.max_memory_bytes is not None and curve["memory_bytes"].isna().all():
        raise LimitError(
            "max-memory is given, but the trace has no sizes: give the bytes of a state, too."
        )

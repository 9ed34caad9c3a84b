"""What a TTL sweep shows: agreement with replay, the decision, verdicts; all text is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from statecache.study.flights import to_trace
from statecache.study.intervals import Interval, mean_interval, share_interval
from statecache.study.models import aggregate_read_modify_write
from statecache.study.questions.ttl_sweep.cells import EXECUTED_LIMIT, PLANNED_LIMIT, QUIET_SHARE
from statecache.study.questions.ttl_sweep.measure import UNCACHED, Sweep, SweepSettings
from statecache.study.replay import hit_curve
from statecache.study.verdicts import LEVEL

__all__ = [
    "DOCUMENTED_TTL_MIN",
    "HIGH_TRAFFIC_TTL_MIN",
    "Decision",
    "Findings",
    "assert_agreement",
    "find",
    "ttl_name",
]


#: The TTL that the documented design runs with, in minutes, and the one for high traffic.
DOCUMENTED_TTL_MIN: Final = 5.0
HIGH_TRAFFIC_TTL_MIN: Final = 10.0


@dataclass(frozen=True, slots=True)
class Decision:
    """A TTL of the grid and what half and twice of it would change, in shares of the reads."""

    ttl_min: float
    hit_rate: float
    saved: float
    half_costs: float
    twice_gains: float
    #: Whether even the longest TTL of the grid would have to be doubled: none is long enough.
    falls_short: bool

    @property
    def sentence(self) -> str:
        """The decision in a sentence."""
        return (
            f"TTL {ttl_name(self.ttl_min)}: {self.hit_rate:.0%} hits, {self.saved:.0%} fewer "
            f"PostgreSQL statements; half of it costs {100 * self.half_costs:.0f} points, "
            f"twice gains {100 * self.twice_gains:.0f}"
            + ("; a longer one than was measured would be worth it." if self.falls_short else ".")
        ).replace("%", " %")


@dataclass(frozen=True, slots=True)
class Findings:
    """A sweep, summed up over its passes.

    ``by_ttl``: a row a TTL: ttl_min, live_ttl_ms, hit_rate, low, high (mean over the passes and
    95 % interval), exact, closed_form, saved, saved_low, saved_high (share of statements),
    executed_off, planned_off (largest distance over the passes), quiet (number of passes),
    hit_p50_us, hit_p99_us, load_p50_us, load_p99_us, commit_p50_us, commit_p99_us (medians).

    ``by_ttl`` also has first (share of the reads that missed a key never asked for before) and
    age_min (mean age of an entry when it was hit, in event time), both live; age_exact_min is
    the latter by replay.

    ``curve``: ttl_min, exact, closed_form, first, expired (shares of the reads that miss, by
    reason) and age_min on a dense grid, means over the passes.
    """

    sweep: Sweep
    by_ttl: pd.DataFrame
    uncached: pd.Series
    curve: pd.DataFrame
    read_share: float
    #: Hit rates at the documented TTLs by exact replay, with the intervals of verdicts.
    documented: Interval
    high_traffic: Interval
    #: The TTL that saved most statements, and the share that it saved, as above.
    best_ttl_min: float
    most_saved: Interval
    decision: Decision

    @property
    def cached_cells(self) -> pd.DataFrame:
        """The cells of variants with a cache."""
        return self.sweep.cells[self.sweep.cells["variant"] != UNCACHED]

    @property
    def counted_by(self) -> str:
        """Who counted the statements: PostgreSQL, or the managers where it keeps no count."""
        return ", ".join(sorted(set(self.sweep.cells["counted_by"])))


def ttl_name(minutes: float) -> str:
    """Return a TTL for readers; the half minute that keeps clear of whole gaps is left out."""
    whole = int(minutes)
    return f"{whole} min" if whole < 60 else f"{whole / 60:.1f} h".replace(".0 h", " h")


def find(sweep: Sweep, *, gain_worth_points: float) -> Findings:
    """Sum up a sweep.

    The decision is the shortest TTL of the grid of which a doubling gains less than
    ``gain_worth_points`` percentage points of hit rate, by exact replay.
    """
    settings = sweep.settings
    dense = _exact_and_closed(settings, np.geomspace(DOCUMENTED_TTL_MIN, 2_880, 73))
    cells = sweep.cells.copy()
    uncached = cells[cells["variant"] == UNCACHED].set_index(["start"])
    cells["saved"] = 1 - cells["statements"] / cells["start"].map(uncached["statements"])
    operations = uncached["reads"].sum() + uncached["writes"].sum()
    read_share = float(uncached["reads"].sum() / operations)
    decision = _decide(settings, read_share, gain_worth_points / 100)
    cached = cells[cells["variant"] != UNCACHED]
    by_ttl = _by_ttl(cached, settings)
    best = by_ttl.iloc[int(by_ttl["saved"].argmax())]["ttl_min"]
    return Findings(
        sweep=sweep,
        by_ttl=by_ttl,
        uncached=uncached.select_dtypes("number").median(),
        curve=dense.drop(columns="start").groupby("ttl_min", as_index=False).mean(),
        read_share=read_share,
        documented=_replayed(settings, DOCUMENTED_TTL_MIN),
        high_traffic=_replayed(settings, HIGH_TRAFFIC_TTL_MIN),
        best_ttl_min=float(best),
        most_saved=share_interval(cached["saved"][cached["ttl_min"] == best].tolist(), LEVEL),
        decision=decision,
    )


def assert_agreement(sweep: Sweep) -> str:
    """Return a sentence on how well live and replay agree, or raise ``AssertionError``.

    Asserted are the replay of the executed times within half a point everywhere, and the replay
    of the planned times within a point wherever the machine was quiet; there loads that shared
    another's database read count as hits, as in virtual time, where a fetch takes no time.
    """
    cells = sweep.cells[sweep.cells["variant"] != UNCACHED]
    executed = (cells["hit_rate"] - cells["hit_rate_executed"]).abs()
    planned = (cells["served_rate"] - cells["hit_rate_planned"]).abs()
    quiet = cells["quiet"].astype(bool)
    worst = cells.iloc[int(executed.argmax())]
    assert executed.max() <= EXECUTED_LIMIT, (  # noqa: S101 - the notebook's check
        f"live {worst['hit_rate']:.4f} and replay of the executed times "
        f"{worst['hit_rate_executed']:.4f} differ by {100 * executed.max():.2f} points at TTL "
        f"{worst['ttl_min']} min, from {worst['start']}: at most {100 * EXECUTED_LIMIT} are allowed"
    )
    said = f"Live hit rate and exact replay of what was done agree within {_points(executed.max())}"
    if not quiet.any():
        return f"{said}; the machine was too noisy to compare with the planned times."
    worst = cells.iloc[int(planned.where(quiet, -1.0).argmax())]
    assert planned[quiet].max() <= PLANNED_LIMIT, (  # noqa: S101 - the notebook's check
        f"live {worst['served_rate']:.4f} and replay of the planned times "
        f"{worst['hit_rate_planned']:.4f} differ by {100 * planned[quiet].max():.2f} points at TTL "
        f"{worst['ttl_min']} min, from {worst['start']}, though the machine was quiet"
    )
    said += f", and of what was planned within {_points(planned[quiet].max())}"
    if quiet.all():
        return said + " at every TTL."
    return (
        said
        + f" in the {int(quiet.sum())} of {len(cells)} cells with quick commits "
        f"(99th percentile at most {QUIET_SHARE:.0%} of the TTL)".replace("%", " %")
        + f"; in the others within {_points(planned[~quiet].max())}."
    )


def _by_ttl(cells: pd.DataFrame, settings: SweepSettings) -> pd.DataFrame:
    exact = (
        _exact_and_closed(settings, np.array(settings.ttls_min))
        .groupby("ttl_min")
        .mean(numeric_only=True)
    )
    rows = []
    for ttl_min, group in cells.groupby("ttl_min"):
        hit, saved = (
            mean_interval(group["hit_rate"].tolist()),
            mean_interval(group["saved"].tolist()),
        )
        rows.append(
            {
                "ttl_min": ttl_min,
                "live_ttl_ms": group["live_ttl_ms"].iloc[0],
                "hit_rate": hit.mean,
                "low": hit.low,
                "high": hit.high,
                "exact": exact["exact"][ttl_min],
                "closed_form": exact["closed_form"][ttl_min],
                "saved": saved.mean,
                "saved_low": saved.low,
                "saved_high": saved.high,
                "executed_off": (group["hit_rate"] - group["hit_rate_executed"]).abs().max(),
                "planned_off": (group["served_rate"] - group["hit_rate_planned"]).abs().max(),
                "quiet": int(group["quiet"].sum()),
                "age_exact_min": exact["age_min"][ttl_min],
                "first": (group["misses_first"] / group["reads"]).mean(),
                "age_min": group["age_at_hit_s"].mean() * settings.time_scale / 60,
                **{name: group[name].median() for name in group.columns if name.endswith("_us")},
            }
        )
    return pd.DataFrame(rows)


def _replayed(settings: SweepSettings, ttl_min: float) -> Interval:
    """Return the hit rate by exact replay, with the interval over the passes."""
    return share_interval(_exact_and_closed(settings, np.array([ttl_min]))["exact"].tolist(), LEVEL)


def _exact_and_closed(settings: SweepSettings, ttls_min: np.ndarray) -> pd.DataFrame:
    """Return hit rates of each pass by replay and by model, and what else replay says.

    Columns: start, ttl_min, exact, closed_form, first, expired, age_min; see ``Findings``.
    """
    frames = []
    for start in settings.starts:
        stream = settings.stream(start)
        seconds = settings.days * 86_400
        rates = stream.groupby("key")["kind"].value_counts().unstack(fill_value=0) / seconds
        looks = rates["look"] if "look" in rates else 0 * rates["event"]
        replayed = hit_curve(to_trace(stream), ttls_min * 60)
        frames.append(
            pd.DataFrame(
                {
                    "start": start,
                    "ttl_min": ttls_min,
                    "exact": replayed["hit_rate"],
                    "first": replayed["misses_first"] / replayed["reads"],
                    "expired": replayed["misses_expired"] / replayed["reads"],
                    "age_min": replayed["mean_age_at_hit_s"] / 60,
                    "closed_form": aggregate_read_modify_write(
                        looks.to_numpy(), rates["event"].to_numpy(), ttls_min * 60
                    ),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _decide(settings: SweepSettings, read_share: float, worth: float) -> Decision:
    decision = None
    for ttl_min in sorted(settings.ttls_min):
        around = _exact_and_closed(settings, ttl_min * np.array([0.5, 1.0, 2.0]))
        half, here, twice = around.groupby("ttl_min")["exact"].mean()
        enough = twice - here < worth
        decision = Decision(
            ttl_min, here, read_share * here, here - half, twice - here, falls_short=not enough
        )
        if enough:
            break
    if decision is None:
        raise ValueError("there is no TTL to decide on: give at least one in ttls_min.")
    return decision


def _points(share: float) -> str:
    return f"{100 * share:.2f} points"

"""What the timelines show; every sentence is computed from the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from statecache.study.questions.degradation.frames import PHASES
from statecache.study.questions.degradation.measure import Recorded
from statecache.study.questions.degradation.settings import DISABLED, NAMES

__all__ = ["Findings", "check", "find"]

#: Counts that are added up over the repetitions.
_SUMS: Final = (
    "requests",
    "errors",
    "wrong",
    "own_stale",
    "broken",
    "acknowledged",
    "lost",
    "stale",
    "stale_after_repair",
    "stale_at_the_end",
)


@dataclass(frozen=True, slots=True)
class Findings:
    """The timelines, summed up over the repetitions.

    ``by_trouble``, a row a trouble in the order of ``NAMES``: trouble, name, the counts of
    ``Recorded.cells`` added up, stale_longest_s, used_after_s, repaired_after_s and warm_after_s
    (longest; NaN where it never came to that), trouble_s, hit_rate_<phase>,
    statements_per_s_<phase> and throughput_per_s_<phase> (medians), log_lines (most),
    samples_<phase>, p50_ms_<phase>, p99_ms_<phase> (of all requests).
    """

    recorded: Recorded
    by_trouble: pd.DataFrame

    @property
    def troubled(self) -> pd.DataFrame:
        """The rows in which something was done to the cache."""
        return self.by_trouble[~self.by_trouble["trouble"].isin(["none", DISABLED])]

    def row(self, trouble: str) -> pd.Series | None:
        """Return the row of a trouble; ``None`` where it was not measured."""
        found = self.by_trouble[self.by_trouble["trouble"] == trouble]
        return None if found.empty else found.iloc[0]


def find(recorded: Recorded) -> Findings:
    """Sum up what was recorded."""
    rows = []
    for trouble, name in NAMES.items():
        cells = recorded.cells[recorded.cells["cell"] == trouble]
        if cells.empty:
            continue
        row: dict[str, Any] = {"trouble": trouble, "name": name}
        row |= {one: int(cells[one].sum()) for one in _SUMS}
        row |= {
            one: float(cells[one].max(skipna=False))
            for one in ("stale_longest_s", "used_after_s", "repaired_after_s", "warm_after_s")
        }
        row |= {
            "trouble_s": float(cells["trouble_s"].median()),
            "log_lines": cells["log_lines"].max(),
        }
        for phase in PHASES:
            for one in ("hit_rate", "statements_per_s", "throughput_per_s"):
                row[f"{one}_{phase}"] = float(cells[f"{one}_{phase}"].median())
            chosen = recorded.histograms[recorded.histograms["cell"] == f"{trouble} {phase}"]
            row[f"samples_{phase}"] = int(chosen["count"].sum())
            for percent in (50, 99):
                row[f"p{percent}_ms_{phase}"] = _quantile_us(chosen, percent / 100) / 1e3
        rows.append(row)
    return Findings(recorded, pd.DataFrame(rows))


def check(findings: Findings) -> str:
    """Return a sentence on what held, or raise ``AssertionError``.

    Asserted is what no machine may break: no caller sees an error or an answer that nobody wrote,
    no acknowledged write is lost, the manager that wrote never reads older than that, no read is
    older than what the cache had acknowledged, and nothing is stale once the writer has repaired.
    """
    must_be_none = {
        "errors": "calls failed",
        "wrong": "answers held what nobody wrote",
        "lost": "keys lost an acknowledged write",
        "own_stale": "reads were older than the same manager's own write",
        "broken": "reads were older than what the cache had acknowledged",
        "stale_after_repair": "reads were stale after the writer had repaired everything",
        "stale_at_the_end": "keys were read in an older state than the row's in the end",
    }
    for _place, row in findings.by_trouble.iterrows():
        for count, what in must_be_none.items():
            texts = findings.recorded.cells.loc[
                findings.recorded.cells["cell"] == row["trouble"], "error_text"
            ]
            hint = f" ({texts.max()})" if count == "errors" else ""
            assert row[count] == 0, (  # noqa: S101 - the notebook's check
                f"{row[count]} {what} ({row['name']}, {row['requests']} requests){hint}"
            )
    total = findings.by_trouble[["requests", "acknowledged"]].sum()
    return (
        f"Checked on {total['requests']:,} requests: no call failed, and none of "
        f"{total['acknowledged']:,} acknowledged writes was lost."
    )


def _quantile_us(histograms: pd.DataFrame, share: float) -> float:
    """Return the quantile of pooled histograms, the middle of its bucket."""
    buckets = histograms.sort_values("low_us")
    counts = buckets["count"].to_numpy()
    if not counts.sum():
        return float("nan")
    bucket = int(np.argmax(np.cumsum(counts) >= share * counts.sum()))
    return float(np.sqrt(buckets["low_us"].iloc[bucket] * buckets["high_us"].iloc[bucket]))

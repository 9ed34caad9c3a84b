"""The noise floor: what a condition shows against itself."""

from __future__ import annotations

from typing import Final

import pandas as pd

from statecache.study.harness.campaign import AGAIN
from statecache.study.intervals import ratio_interval

__all__ = ["noise_floor", "noise_sentence"]

_METRICS: Final = {
    "throughput_ops_s": "throughput",
    "request_p50_us": "median latency",
    "request_p99_us": "p99",
}


def noise_floor(cells: pd.DataFrame) -> pd.DataFrame:
    """Return cell, metric, ratio, low, high (95 %), pairs for every condition measured twice.

    ``cells`` is a campaign's; a ratio is that of the condition to itself, in pairs
    of a block and profile.
    """
    rows = []
    names = set(cells["cell"]) if "cell" in cells else set()
    for name in sorted(names):
        if name + AGAIN not in names:
            continue
        turn = [column for column in ("profile", "block") if column in cells]
        first, second = (
            cells[cells["cell"] == one].set_index(turn).sort_index() for one in (name, name + AGAIN)
        )
        for metric, label in _METRICS.items():
            if metric not in cells:
                continue
            pairs = pd.concat([second[metric], first[metric]], axis=1, join="inner").dropna()
            if pairs.empty:
                continue
            found = ratio_interval(pairs.iloc[:, 0].tolist(), pairs.iloc[:, 1].tolist())
            rows.append(
                {
                    "cell": name,
                    "metric": label,
                    "ratio": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "pairs": len(pairs),
                }
            )
    return pd.DataFrame(rows, columns=["cell", "metric", "ratio", "low", "high", "pairs"])


def noise_sentence(cells: pd.DataFrame) -> str:
    """Return the noise floor as a sentence; empty where no condition was measured twice."""
    floor = noise_floor(cells)
    if floor.empty:
        return ""
    said = [
        f"{row['metric']} {row['ratio']:.2f}x ({row['low']:.2f}–{row['high']:.2f})"
        for _number, row in floor[floor["cell"] == floor["cell"].iloc[0]].iterrows()
    ]
    return (
        f"“{floor['cell'].iloc[0]}” against itself, {floor['pairs'].iloc[0]} pairs, 95 %: "
        f"{', '.join(said)}; smaller differences mean nothing."
    )

"""A timeline as frames: one row in all, a row a bin of time, and histograms of each phase."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study.histograms import histogram
from statecache.study.questions.degradation.load import ERROR
from statecache.study.questions.degradation.settings import Settings
from statecache.study.questions.degradation.timeline import Timeline
from statecache.study.traces import READ, WRITE

__all__ = ["PHASES", "bins_of", "histograms_of", "row_of"]

#: Before, from the trouble's beginning on, and after it has ended (or ``trouble_s`` have passed).
PHASES: Final = ("healthy", "trouble", "after")

#: The hit rate is back where it is at least this share of what it was.
BACK_SHARE: Final = 0.9
#: ... over this many seconds.
BACK_OVER_S: Final = 0.25

NAN: Final = float("nan")

_OPERATIONS: Final = {"load": READ, "update": WRITE}
_Floats = NDArray[np.float64]


def row_of(settings: Settings, timeline: Timeline) -> dict[str, Any]:
    """Return counts and times; see ``measure.Recorded``."""
    load, back = timeline.load, timeline.back
    text, _times = next(iter(load.errors.most_common(1)), ("", 0))
    repaired = timeline.repaired_at
    row: dict[str, Any] = {
        "requests": len(load.requests),
        "errors": load.errors.total(),
        "error_text": text,
        "wrong": load.wrong,
        "own_stale": load.own_stale,
        "broken": load.broken,
        "acknowledged": timeline.acknowledged,
        "lost": timeline.lost,
        "stale": len(load.stale),
        "stale_longest_s": max((one.age_s for one in load.stale), default=0.0),
        "stale_after_repair": sum(
            repaired is not None and one.began > repaired for one in load.stale
        ),
        "stale_at_the_end": timeline.stale_at_the_end,
        "trouble_s": back - timeline.began,
        "used_after_s": _since(timeline.used_at, back),
        "repaired_after_s": _since(repaired, back),
        "log_lines": len(timeline.log),
        "log_first": timeline.log[0] if timeline.log else "",
        "late_p99_us": float(np.quantile(load.late or [0.0], 0.99)) * 1e6,
    }
    for phase, (start, end) in _phases(settings, timeline).items():
        hits, misses, statements = _counted(timeline, start, end)
        row |= {
            f"hit_rate_{phase}": hits / (hits + misses) if hits + misses else NAN,
            f"statements_per_s_{phase}": statements / (end - start),
            f"throughput_per_s_{phase}": _ended(timeline, start, end) / (end - start),
        }
    row["warm_after_s"] = _warm_after(timeline, row["hit_rate_healthy"])
    return row


def bins_of(settings: Settings, timeline: Timeline) -> pd.DataFrame:
    """Return a row for each ``bin_ms``: see ``measure.Recorded``."""
    width = settings.bin_ms / 1000
    lowest = -np.floor(settings.healthy_s / width) * width
    edges = np.arange(lowest, timeline.ended - timeline.began - width / 2, width)
    requests = timeline.load.requests
    due = np.array([one.due for one in requests]) - timeline.began
    ended = np.array([one.ended for one in requests]) - timeline.began
    failed = np.array([one.operation == ERROR for one in requests], dtype=bool)
    stale = np.array([one.began for one in timeline.load.stale]) - timeline.began
    sampled = np.array([one.at for one in timeline.samples])
    rows = []
    for left in edges:
        inside = (due >= left) & (due < left + width)
        milliseconds = (ended[inside] - due[inside]) * 1e3
        quantiles = np.quantile(milliseconds, [0.5, 0.99, 1.0]) if len(milliseconds) else [NAN] * 3
        start, end = timeline.began + left, timeline.began + left + width
        hits, misses, statements = _counted(timeline, start, end)
        sample = timeline.samples[int(np.abs(sampled - (start + end) / 2).argmin())]
        done = (ended >= left) & (ended < left + width)
        rows.append(
            {
                "at_s": left + width / 2,
                "requests": int(inside.sum()),
                "p50_ms": float(quantiles[0]),
                "p99_ms": float(quantiles[1]),
                "max_ms": float(quantiles[2]),
                "throughput_per_s": int((done & ~failed).sum()) / width,
                "errors": int((done & failed).sum()),
                "stale": int(((stale >= left) & (stale < left + width)).sum()),
                "hit_rate": hits / (hits + misses) if hits + misses > 0 else NAN,
                "statements_per_s": statements / width,
                "unrepaired": sample.unrepaired,
                "breaker_open": sample.breaker_open,
            }
        )
    return pd.DataFrame(rows)


def histograms_of(settings: Settings, timeline: Timeline) -> pd.DataFrame:
    """Return phase, operation, low_us, high_us and count."""
    frames = []
    for phase, (start, end) in _phases(settings, timeline).items():
        for name, code in _OPERATIONS.items():
            seconds = [
                one.ended - one.due
                for one in timeline.load.requests
                if one.operation == code and start <= one.due < end
            ]
            frame = histogram(np.array(seconds, dtype=np.float64))
            frame.insert(0, "operation", name)
            frame.insert(0, "phase", phase)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _phases(settings: Settings, timeline: Timeline) -> dict[str, tuple[float, float]]:
    over = max(timeline.back, timeline.began + settings.trouble_s)
    return {
        "healthy": (timeline.began - settings.healthy_s, timeline.began),
        "trouble": (timeline.began, over),
        "after": (over, max(timeline.ended, over + 1e-3)),
    }


def _counted(timeline: Timeline, start: float, end: float) -> tuple[float, float, float]:
    """Return hits, misses and statements in between, interpolated between the samples."""
    at = np.array([one.at for one in timeline.samples])
    counts = np.array([(one.hits, one.misses, one.statements) for one in timeline.samples])
    found = [
        float(np.interp(end, at, column) - np.interp(start, at, column)) for column in counts.T
    ]
    return found[0], found[1], found[2]


def _ended(timeline: Timeline, start: float, end: float) -> int:
    return sum(
        start <= one.ended < end and one.operation != ERROR for one in timeline.load.requests
    )


def _warm_after(timeline: Timeline, healthy: float) -> float:
    """Return when the hit rate was back, in seconds after the cache was; NaN if it never was."""
    for sample in timeline.samples:
        end = sample.at
        if end - BACK_OVER_S < timeline.back:
            continue
        hits, misses, _ = _counted(timeline, end - BACK_OVER_S, end)
        if hits + misses and hits / (hits + misses) >= BACK_SHARE * healthy:
            return end - timeline.back
    return NAN


def _since(at: float | None, start: float) -> float:
    return NAN if at is None else at - start

"""What the tuning of a TTL shows: whether live and replay agree; all text is computed."""

from __future__ import annotations

import pandas as pd

from statecache.study.questions.tune_ttl.measure import (
    EXECUTED_LIMIT,
    PLANNED_LIMIT,
    QUIET_SHARE,
    STATEMENTS_LIMIT,
    Tuning,
)

__all__ = ["assert_agreement", "offs"]

#: Reads or statements of which nobody saw whether they came before or after another.
UNSEEN = 3


def offs(cells: pd.DataFrame) -> pd.DataFrame:
    """Return by how much live and replay differ, a row a cell.

    executed, planned: shares of the reads; in the second, loads that shared another's database read
    count as hits, as in virtual time, where a fetch takes no time. statements, statements_planned:
    shares of the statements.
    """
    return pd.DataFrame(
        {
            "executed": (cells["hit_rate"] - cells["hit_rate_executed"]).abs(),
            "planned": (cells["served_rate"] - cells["hit_rate_planned"]).abs(),
            "statements": (cells["statements"] / cells["statements_executed"] - 1).abs(),
            "statements_planned": (cells["statements"] / cells["statements_planned"] - 1).abs(),
        }
    )


def assert_agreement(tuning: Tuning) -> str:
    """Return a sentence on how well live and replay agree, or raise ``AssertionError``.

    Asserted are, everywhere, the replay of the executed times: hit rate within half a point,
    statements within 2 %; and where the machine was quiet the replay of the planned times: hit rate
    within a point, statements within 2 %. Of few reads or statements, three may differ: which of
    two that overlapped came first, nobody saw. A cell in which loads took longer than half the TTL
    is void, and not judged.
    """
    judged = tuning.cells[~tuning.cells["void"].astype(bool)]
    if judged.empty:
        return (
            "The machine stood still for longer than the TTLs, so that nobody knows when states "
            "were looked up: this run is no proof, and another one is needed."
        )
    off, quiet = offs(judged), judged["quiet"].astype(bool)
    _assert(judged, off["executed"], EXECUTED_LIMIT, "hit_rate", "hit_rate_executed")
    _assert(judged, off["statements"], STATEMENTS_LIMIT, "statements", "statements_executed")
    said = (
        f"Live and exact replay of what was done agree within {_points(off['executed'].max())} of "
        f"hit rate and {100 * off['statements'].max():.1f} % of the statements"
    )
    if len(judged) < len(tuning.cells):
        said += f" at the {len(judged)} of {len(tuning.cells)} TTLs that could be judged"
    if not quiet.any():
        return said + "; the machine was too noisy to compare with the planned times."
    still, planned = judged[quiet], off[quiet]
    _assert(still, planned["planned"], PLANNED_LIMIT, "served_rate", "hit_rate_planned")
    _assert(
        still, planned["statements_planned"], STATEMENTS_LIMIT, "statements", "statements_planned"
    )
    said += (
        f", and of what was planned within {_points(planned['planned'].max())} and "
        f"{100 * planned['statements_planned'].max():.1f} %"
    )
    if quiet.all():
        return said + (" at every TTL." if len(judged) == len(tuning.cells) else ".")
    return (
        f"{said} at the {int(quiet.sum())} TTLs where the machine was quiet (99th percentiles at "
        f"most {100 * QUIET_SHARE:g} % of the TTL)."
    )


def _assert(cells: pd.DataFrame, off: pd.Series, limit: float, live: str, replayed: str) -> None:
    count = cells["statements" if live == "statements" else "reads"]
    allowed = (UNSEEN / count).clip(lower=limit)
    place = int((off - allowed).argmax())
    worst = cells.iloc[place]
    assert off.iloc[place] <= allowed.iloc[place], (  # noqa: S101 - the notebook's check
        f"live {live} {worst[live]:.6g} and {replayed} {worst[replayed]:.6g} differ by "
        f"{100 * off.iloc[place]:.2f} % at TTL {worst['ttl_s']:g} s: at most "
        f"{100 * allowed.iloc[place]:.2g} are allowed"
    )


def _points(share: float) -> str:
    return f"{100 * share:.2f} points"

"""What a trouble of the cache amounted to: counts, latencies, and whether the goals were met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from statecache.study.bench.outage_load import Board, Call, Caller

__all__ = ["figures_of", "goals_met", "line_of"]

#: How soon the cache is to be used again, in seconds.
USED_AGAIN_S = 2.0
#: Of two managers, when it begins and when it is over.
LOG_LINES = 4


def figures_of(
    board: Board, writers: Sequence[Caller], others: Sequence[Caller], held: dict[str, int]
) -> dict[str, Any]:
    """Return what one case found; latencies in ms, other times in seconds."""
    calls = [call for caller in writers for call in caller.calls]
    everybody = [*writers, *others]
    errors = sum((caller.errors for caller in everybody), Counter())
    late = [at for caller in others for phase, at in caller.stale if phase == "recovery"]
    healthy, outage = _latencies(calls, "healthy"), _latencies(calls, "outage")
    return {
        "operations": sum(call.phase == "outage" for call in calls),
        "errors": errors.total(),
        "errors_by_text": dict(errors.most_common(10)),
        "wrong_answers": sum(caller.wrong.total() for caller in everybody),
        "acknowledged_writes": board.writes.total,
        "lost_writes": board.writes.lost(held),
        "stale_reads": {
            # By the manager that wrote, at any time.
            "own": sum(len(caller.stale) for caller in writers),
            # By another manager: the cache has acknowledged nothing of what it was not told of.
            "others_healthy": _stale(others, "healthy"),
            "others_outage": _stale(others, "outage"),
            "others_recovery": len(late),
            # ... since the writer's manager reached the cache again.
            "others_caught_up": sum(at > (board.hit_at or at) for at in late),
            "others_last_s": round(max(late) - board.back_at, 4) if late else None,
            "at_the_end": sum(
                found[key] < held.get(key, -1) for found in board.at_end for key in found
            ),
        },
        "latency_ms": {
            "healthy": healthy,
            "outage": outage,
            "added": {
                operation: {
                    name: round(outage[operation][name] - value, 3)
                    for name, value in healthy[operation].items()
                }
                for operation in healthy
            },
        },
        "used_again_s": _since(board.hit_at, board.back_at),
        "written_again_s": _since(board.stored_at, board.back_at),
    }


def _latencies(calls: Sequence[Call], phase: str) -> dict[str, dict[str, float]]:
    chosen = [call for call in calls if call.phase == phase]
    found = {}
    for operation in ("all", "load", "update"):
        seconds = [call.seconds for call in chosen if operation in ("all", call.operation)]
        p50, p99, p999, worst = np.percentile(seconds, [50, 99, 99.9, 100]) * 1e3
        found[operation] = {
            "p50": round(float(p50), 3),
            "p99": round(float(p99), 3),
            "p99.9": round(float(p999), 3),
            "max": round(float(worst), 3),
        }
    return found


def _stale(callers: Sequence[Caller], phase: str) -> int:
    return sum(one == phase for caller in callers for one, _at in caller.stale)


def _since(at: float | None, start: float) -> float | None:
    return None if at is None else round(at - start, 4)


def goals_met(case: dict[str, Any]) -> dict[str, bool]:
    """Return goal → whether a case, with ``log_lines``, meets it."""
    stale = case["stale_reads"]
    return {
        "no errors": case["errors"] == 0,
        "right answers": case["wrong_answers"] == 0,
        "no lost writes": case["lost_writes"] == 0,
        "never older than the own write": stale["own"] == 0,
        "others never older while healthy": stale["others_healthy"] == 0,
        "others never older once the writer is back": stale["others_caught_up"] == 0,
        "nothing stale in the end": stale["at_the_end"] == 0,
        "logged once": case["log_lines"] <= LOG_LINES,
        "used again in 2 s": (case["used_again_s"] or 1e9) <= USED_AGAIN_S,
    }


def line_of(case: dict[str, Any]) -> str:
    """Return a case with its ``goals`` in one line of text."""
    added = case["latency_ms"]["added"]["all"]
    missed = [goal for goal, met in case["goals"].items() if not met]
    return (
        f"{case['callers']:8} {case['trouble']:10} {case['operations']} calls, "
        f"{case['errors']} errors, {case['lost_writes']} lost, "
        f"added p50 {added['p50']:.2f} p99 {added['p99']:.2f} max {added['max']:.1f} ms, "
        f"used again after {case['used_again_s']} s; "
        f"{'missed: ' + ', '.join(missed) if missed else 'all goals met'}"
    )

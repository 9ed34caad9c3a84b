"""The harness under test: nothing found where nothing is, and a known slowdown found.

The estimator alone is tested on synthetic pairs (tests/unit/study/test_intervals.py); this is the
same on the machine, with its noise.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from statecache.study.bench.rows import AT_LEAST, AT_MOST, Findings, Goal, Row
from statecache.study.bench.stage import Stage
from statecache.study.harness.documents import trigger_ids
from statecache.study.harness.opening import Opening
from statecache.study.harness.timing import cycle, interleave, timed_async
from statecache.study.intervals import MIN_PAIRS, Interval, LogRatio

__all__ = ["measure_proof"]

IDS = trigger_ids(64)
COMPARISONS = 40
#: Of 40 comparisons at 5 %, more than 6 are significant in 1.4 % of all cases.
MOST_FALSE = 6
SLOWER = (0.10, 0.02)
MARGIN = 0.05


async def measure_proof(stage: Stage) -> Findings:
    """Compare a manager with itself many times, and with itself slowed down by a known share."""
    with stage.workspace(["proof"], IDS) as workspace:
        async with Opening(stage.servers) as opening:
            config = stage.config(workspace, "proof")
            manager = await opening.async_manager(await opening.async_pool(2), config)
            ids = cycle(IDS, 2 * stage.effort.calls)
            plain = timed_async(manager.load_state, ids)
            for _turn in range(10):
                took = await plain()
            enough = stage.effort.pairs >= MIN_PAIRS
            comparisons = COMPARISONS if enough else 2
            false = 0
            for number in range(comparisons):
                pairs = await interleave(
                    {"a": plain, "b": plain},
                    pairs=min(MIN_PAIRS, stage.effort.pairs),
                    seed=stage.seed + number,
                    on_turn=stage.part(number, comparisons + 1).progress,
                )
                false += LogRatio.paired(pairs["b"], pairs["a"]).p_differs() < 0.05
            slowed = await interleave(
                {"plain": plain}
                | {
                    f"{share:g}": timed_async(_slowed(manager.load_state, share * took), ids)
                    for share in SLOWER
                },
                pairs=stage.effort.pairs,
                seed=stage.seed,
            )
    much, little = (LogRatio.paired(slowed[f"{share:g}"], slowed["plain"]) for share in SLOWER)
    pairs_behind = len(slowed["plain"])
    return Findings(
        [
            Row(
                name="proof_aa",
                what=f"comparisons of a manager with itself that are significant, of {comparisons}",
                against="itself",
                value=Interval(float(false), float(false), float(false)),
                unit="",
                goal=Goal(AT_MOST, float(MOST_FALSE)),
                counted=enough,
            ),
            Row(
                name="proof_slowed",
                what=f"slowed by {SLOWER[0]:.0%}: time a load",
                against="itself",
                value=much.interval(),
                goal=Goal(AT_LEAST, 1.0),
                pairs=pairs_behind,
            ),
            Row(
                name="proof_margin",
                what=f"slowed by {SLOWER[1]:.0%}: p of more than {MARGIN:.0%}",
                against="itself",
                value=Interval(*[little.p_above(1 + MARGIN)] * 3),
                unit="",
                goal=Goal(AT_LEAST, 0.05),
                counted=enough,
            ),
        ]
    )


def _slowed(
    call: Callable[[str], Awaitable[Any]], seconds: float
) -> Callable[[str], Awaitable[Any]]:
    """Return a call that keeps the client busy for that long as well."""

    async def slower(trigger_id: str) -> Any:
        found = await call(trigger_id)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass
        return found

    return slower

"""The pool size at which a manager does most: swept, not guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from statecache.study.harness.campaign import Campaign
from statecache.study.harness.stand import Condition
from statecache.study.intervals import ratio_interval

__all__ = ["PoolSizes", "best_pool_size"]


@dataclass(frozen=True, slots=True)
class PoolSizes:
    """What a sweep found; ``rates`` has a row a size: connections, and a second (the rate)."""

    best: int
    rates: pd.DataFrame


async def best_pool_size(
    campaign: Campaign, condition: Condition, sizes: Sequence[int], blocks: int
) -> PoolSizes:
    """Measure the condition with pools of these sizes; the best has the highest throughput.

    Rates are geometric means over the blocks, which the campaign's folder keeps: an interrupted
    study goes on with the same size. Raises ``StudyError``.
    """
    conditions = [
        replace(condition, cell=f"{condition.cell}, {size} connections", pool_size=size)
        for size in sizes
    ]
    cells = (await campaign.measure(conditions, blocks)).cells
    rates = {}
    for one in conditions:
        own = cells.loc[cells["cell"] == one.cell, "throughput_ops_s"].tolist()
        rates[one.pool_size] = ratio_interval(own, [1.0] * len(own)).mean
    table = pd.DataFrame({"connections": list(rates), "a second": list(rates.values())})
    return PoolSizes(max(rates, key=lambda size: rates[size]), table)

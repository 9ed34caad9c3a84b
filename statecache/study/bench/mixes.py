"""80 % reads, 20 % writes under concurrent callers: what each mechanism adds."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statecache.study.bench.foreign import Foreign, running_foreign, writing_meanwhile
from statecache.study.bench.rows import (
    AT_LEAST,
    AT_MOST,
    Findings,
    Goal,
    Row,
    paired_row,
    variant_line,
)
from statecache.study.bench.stage import Stage
from statecache.study.harness.audit import Audit, open_audit
from statecache.study.harness.campaign import Campaign
from statecache.study.harness.cells import Cell, Subject, measure_cell
from statecache.study.harness.documents import trigger_ids
from statecache.study.harness.drives import Closed
from statecache.study.harness.opening import Opening
from statecache.study.harness.pool_sizes import best_pool_size
from statecache.study.harness.stand import Condition
from statecache.study.harness.timing import Round, interleave, median
from statecache.study.harness.variants import Variant
from statecache.study.harness.workloads import Plan, Popularity, Workload, make_plan, popular_ids
from statecache.study.runfolder import RunFolder
from statecache.study.workspace import Workspace

__all__ = ["FACTORIAL", "Mechanisms", "measure_mixes", "swept_pool_size"]

WRITE_SHARE = 0.2
#: Ids that the second process writes to, from the most popular to rare ones.
FOREIGN_IDS = 32
SPREADS: tuple[Popularity, ...] = ("zipf", "uniform")
#: Callers → throughput that is wanted, as a multiple of the manager without a cache.
WANTED = {32: 7.0, 100: 10.0, 256: 13.0}
#: Callers at which PostgreSQL's statements and CPU time are judged.
COUNTED_AT = 32
NOISE = "none again"


@dataclass(frozen=True, slots=True)
class Mechanisms:
    """Which of the mechanisms a variant uses."""

    gather: bool = False
    redis: bool = False
    memory: bool = False

    @property
    def name(self) -> str:
        """Name of the variant, also in its schema's name."""
        used = [name for name in ("gather", "redis", "memory") if getattr(self, name)]
        return "_".join(used) or "none"

    def changes(self, items: int) -> dict[str, Any]:
        """Return the settings that turn them on; ``items`` is how many states there are."""
        changes: dict[str, Any] = {}
        if self.gather:
            changes["gather"] = True
        if self.memory:
            changes["memory_items"] = 2 * items
        return changes


#: All that there are: without Redis nothing would keep the in-process tier coherent.
FACTORIAL = tuple(
    Mechanisms(gather, redis, memory)
    for redis, memory, gather in itertools.product((False, True), repeat=3)
    if redis or not memory
)
NONE, ALL = Mechanisms(), Mechanisms(gather=True, redis=True, memory=True)


def mix_of(spread: Popularity, keys: int) -> Workload:
    """Return 80 % reads and 20 % writes."""
    return Workload(keys=keys, popularity=spread, read_share=1 - WRITE_SHARE)


async def measure_mixes(stage: Stage) -> Findings:
    """Measure the factorial of mechanisms for every number of callers and spread of keys."""
    rows: list[Row] = []
    tables: dict[str, list[dict[str, Any]]] = {}
    ids = trigger_ids(stage.effort.ids)
    settings = list(itertools.product(stage.effort.callers, SPREADS))
    with ExitStack() as stack:
        workspace = stack.enter_context(
            stage.workspace([variant.name for variant in FACTORIAL], ids)
        )
        plans = {spread: make_plan(mix_of(spread, len(ids)), stage.seed) for spread in SPREADS}
        foreign = stack.enter_context(
            running_foreign(
                stage.servers,
                {one.name: (stage.config(workspace, one.name), one.redis) for one in FACTORIAL},
                popular_ids(plans["zipf"], FOREIGN_IDS),
            )
        )
        audit = stack.enter_context(open_audit(stage.servers))
        for callers in stage.effort.callers:
            size, sweep = await swept_pool_size(stage, mix_of("zipf", len(ids)), callers)
            tables[f"pool sizes without a cache, {callers} callers"] = sweep
            async with Opening(stage.servers) as opening:
                subjects = await _open_subjects(stage, workspace, opening, size)
                for spread in SPREADS:
                    rounds = {
                        name: _round(stage, subject, plans[spread], callers, (audit, foreign))
                        for name, subject in subjects.items()
                    }
                    part = stage.part(settings.index((callers, spread)), len(settings))
                    cells = await interleave(
                        rounds,
                        pairs=stage.effort.mix_pairs,
                        seed=stage.seed + callers,
                        on_turn=part.progress,
                    )
                    opening.check()
                    rows += _rows(cells, spread, callers, size)
                    tables[f"80/20, {spread} keys, {callers} callers"] = _table(cells)
    return Findings(rows, tables)


async def swept_pool_size(
    stage: Stage, workload: Workload, callers: int
) -> tuple[int, list[dict[str, Any]]]:
    """Return the pool size at which the manager without a cache does most, and what each did."""
    drive = Closed(callers, stage.effort.run_s / 2)
    condition = Condition(cell="none", variant=Variant(), workload=workload, drive=drive)
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(
            servers=stage.servers,
            folder=RunFolder(Path(folder)),
            notebook="pool_sizes",
            seed=stage.seed,
            pool_size=max(stage.effort.pool_sizes),
            pins=False,  # as in all else that is compared here
        )
        pairs = max(2, stage.effort.mix_pairs // 2)
        found = await best_pool_size(campaign, condition, stage.effort.pool_sizes, pairs)
    sweep = found.rates.round().astype(int).to_dict("records")
    return found.best, [{str(name): value for name, value in row.items()} for row in sweep]


async def _open_subjects(
    stage: Stage, workspace: Workspace, opening: Opening, size: int
) -> dict[str, Subject]:
    """Open a manager a variant, all on one pool, and load every state once."""
    pool = await opening.async_pool(size)
    ids = trigger_ids(stage.effort.ids)
    subjects = {}
    for variant in FACTORIAL:
        config = stage.config(workspace, variant.name, **variant.changes(len(ids)))
        open_one = opening.async_cached if variant.redis else opening.async_manager
        manager = await open_one(pool, config)
        for start in range(0, len(ids), 100):
            await asyncio.gather(*map(manager.load_state, ids[start : start + 100]))
        subjects[variant.name] = Subject(manager, config.schema, variant.name)
    # A run against itself tells what differences mean nothing.
    return subjects | {NOISE: subjects[NONE.name]}


def _round(
    stage: Stage, subject: Subject, plan: Plan, callers: int, beside: tuple[Audit, Foreign]
) -> Round[Cell]:
    audit, foreign = beside
    drive = Closed(callers, stage.effort.run_s)
    return lambda: measure_cell(
        audit, subject, plan, drive, foreign=writing_meanwhile(foreign, subject.variant)
    )


def _rows(
    cells: Mapping[str, Sequence[Cell]], spread: Popularity, callers: int, size: int
) -> list[Row]:
    baseline = f"AsyncStateManager, {size} connections (its best)"
    where = f"80/20, {spread}, {callers} callers"
    judged = spread == "zipf"

    def row(
        name: str,
        what: str,
        figure: str,
        goal: Goal | None = None,
        pair: tuple[Mechanisms | str, Mechanisms] = (ALL, NONE),
        **options: Any,
    ) -> Row:
        ours, theirs = (one if isinstance(one, str) else one.name for one in pair)
        both = (
            [float(getattr(cell, figure)) for cell in cells[ours]],
            [float(getattr(cell, figure)) for cell in cells[theirs]],
        )
        against = baseline if theirs == NONE.name else theirs.replace("_", " + ")
        return paired_row(
            f"mix_{spread}_{callers}_{name}",
            f"{where}: {what}",
            against,
            both,
            goal=goal if judged else None,
            **options,
        )

    wanted = WANTED.get(callers)
    rate: dict[str, Any] = {"unit": "ops/s"}
    rows = [
        row(
            "throughput",
            "throughput of all mechanisms",
            "throughput_ops_s",
            Goal(AT_LEAST, wanted) if wanted else None,
            **rate,
        ),
        row("p99", "p99 of all", "request_p99_us", Goal(AT_MOST, 1.0), scale=1e-3, unit="ms"),
    ]
    if callers == COUNTED_AT:
        counted = (
            ("statements", "PostgreSQL statements an operation", 0.1, 1.0, ""),
            ("backend_cpu", "backend CPU an operation", 0.3, 1.0, "µs"),
        )
        figures = ("statements_per_op", "backend_us_per_op")
        rows += [
            row(name, what, figure, Goal(AT_MOST, most), scale=scale, unit=unit)
            for (name, what, most, scale, unit), figure in zip(counted, figures, strict=True)
            if not any(getattr(cell, figure) != getattr(cell, figure) for cell in cells[NONE.name])
        ]
    gather = Mechanisms(gather=True)
    gather_redis = Mechanisms(gather=True, redis=True)
    shares: tuple[tuple[str, str, tuple[Mechanisms | str, Mechanisms]], ...] = (
        ("gathering", "what gathering adds", (gather, NONE)),
        ("redis_alone", "what Redis adds", (Mechanisms(redis=True), NONE)),
        ("redis_gathering", "what Redis adds to gathering", (gather_redis, gather)),
        ("cache_gathering", "what Redis and the in-process tier add", (ALL, gather)),
        ("memory_gathering", "what the in-process tier adds", (ALL, gather_redis)),
        ("noise", "noise: the baseline against itself", (NOISE, NONE)),
    )
    return rows + [
        row(name, what, "throughput_ops_s", None, pair, **rate) for name, what, pair in shares
    ]


def _table(cells: Mapping[str, Sequence[Cell]]) -> list[dict[str, Any]]:
    """Return a line a variant: medians, and the throughput as a multiple of the baseline's."""
    baseline = [cell.throughput_ops_s for cell in cells[NONE.name]]
    table = []
    for name, own in cells.items():

        def middle(figure: str, scale: float = 1.0, own: Sequence[Cell] = own) -> float:
            return float(f"{median([getattr(cell, figure) for cell in own]) * scale:.4g}")

        table.append(
            {
                **variant_line(name, [cell.throughput_ops_s for cell in own], baseline, "ops/s"),
                "p50 ms": middle("request_p50_us", 1e-3),
                "p99 ms": middle("request_p99_us", 1e-3),
                "statements/op": middle("statements_per_op"),
                "backend µs/op": middle("backend_us_per_op"),
                "client µs/op": middle("client_us_per_op"),
                "absorbed": middle("absorbed_share"),
            }
        )
    return table

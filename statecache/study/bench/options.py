"""What options cost that watch: the access recorder, and what catches writes behind the back."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from statecache import init_db
from statecache.recorder import AccessRecorder
from statecache.study.bench.mixes import ALL, WRITE_SHARE
from statecache.study.bench.rows import AT_LEAST, Findings, Goal, Row, paired_row
from statecache.study.bench.stage import Stage
from statecache.study.harness.audit import Audit, open_audit
from statecache.study.harness.cells import Subject, measure_cell
from statecache.study.harness.documents import trigger_ids
from statecache.study.harness.drives import Closed
from statecache.study.harness.opening import Opening
from statecache.study.harness.timing import Round, interleave
from statecache.study.harness.workloads import Workload, make_plan
from statecache.study.workspace import Workspace

__all__ = ["measure_options"]

IDS = trigger_ids(1_000)
POOL_SIZE = 16
SAMPLE = 0.01
POLL_SECS = 1.0


@dataclass(frozen=True, slots=True)
class _Load:
    what: str
    write_share: float
    callers: int


#: With a cache and without: what only writes pays most, and the more so the more callers there are.
_LOADS = {
    True: _Load("80/20, uniform, 32 callers, all mechanisms", WRITE_SHARE, 32),
    False: _Load("AsyncStateManager, updates only, 16 callers", 1.0, 16),
}


@dataclass(frozen=True, slots=True)
class _Option:
    """A manager with an option on, to be compared with one of its kind without any."""

    name: str
    what: str = ""
    caches: bool = False
    records: bool = False
    repair_poll_secs: float = 0.0
    outside_writes: bool = False
    goal: Goal | None = None

    @property
    def baseline(self) -> str:
        """Name of the manager of its kind without any option."""
        return "cached" if self.caches else "plain"


_OPTIONS = (
    _Option("cached", caches=True),
    _Option(
        "recorded",
        f"an access recorder at {SAMPLE:.0%}",
        caches=True,
        records=True,
        goal=Goal(AT_LEAST, 0.98),
    ),
    _Option("polling", "repair_poll_secs", caches=True, repair_poll_secs=POLL_SECS),
    _Option("plain"),
    _Option("noting", "repair_poll_secs, every write noted", repair_poll_secs=POLL_SECS),
    _Option("watched", "triggers that catch outside writes", outside_writes=True),
)


async def measure_options(stage: Stage) -> Findings:
    """Measure the throughput with an option on against the same manager with it off."""
    with ExitStack() as stack:
        workspace = stack.enter_context(stage.workspace([one.name for one in _OPTIONS], IDS))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        recorder = stack.enter_context(closing(AccessRecorder(folder, SAMPLE)))
        audit = stack.enter_context(open_audit(stage.servers))
        async with Opening(stage.servers) as opening:
            rounds: dict[str, Round[float]] = {}
            for option in _OPTIONS:
                subject = await _open(stage, workspace, opening, option, recorder)
                rounds[option.name] = _round(stage, audit, subject, _LOADS[option.caches])
            # What has a goal is judged by a few per cent, which takes more pairs than to be shown.
            judged = [one for one in _OPTIONS if one.goal]
            shown = [one for one in _OPTIONS if one.what and not one.goal]
            rows: list[Row] = []
            for number, (options, pairs) in enumerate(
                ((judged, stage.effort.goal_pairs), (shown, stage.effort.option_pairs))
            ):
                names = {name for one in options for name in (one.name, one.baseline)}
                rates = await interleave(
                    {name: one for name, one in rounds.items() if name in names},
                    pairs=pairs,
                    seed=stage.seed,
                    on_turn=stage.part(number, 2).progress,
                )
                rows += (_row(one, rates) for one in options)
            opening.check()
    return Findings(rows)


def _row(option: _Option, rates: dict[str, list[float]]) -> Row:
    return paired_row(
        f"option_{option.name}",
        f"throughput with {option.what}",
        f"the same without, {_LOADS[option.caches].what}",
        (rates[option.name], rates[option.baseline]),
        goal=option.goal,
        unit="ops/s",
    )


async def _open(
    stage: Stage, workspace: Workspace, opening: Opening, option: _Option, recorder: AccessRecorder
) -> Subject:
    """Open a manager with the option on."""
    changes: dict[str, Any] = ALL.changes(len(IDS)) if option.caches else {}
    config = stage.config(
        workspace, option.name, **changes, repair_poll_secs=option.repair_poll_secs
    )
    url = stage.servers.database_url
    init_db(url, schema=config.schema, outside_writes=option.outside_writes)
    open_one = opening.async_cached if option.caches else opening.async_manager
    pool = await opening.async_pool(POOL_SIZE)
    manager = await open_one(pool, config, observer=recorder if option.records else None)
    await manager.load_states(IDS)
    return Subject(manager, config.schema, option.name)


def _round(stage: Stage, audit: Audit, subject: Subject, load: _Load) -> Round[float]:
    # Uniform keys: a share of the keys is the same share of the accesses.
    plan = make_plan(
        Workload(keys=len(IDS), popularity="uniform", read_share=1 - load.write_share), stage.seed
    )

    async def measure() -> float:
        seconds = stage.effort.option_run_s
        cell = await measure_cell(audit, subject, plan, Closed(load.callers, seconds))
        return cell.throughput_ops_s

    return measure

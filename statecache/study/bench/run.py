"""Which benchmarks there are, and a run of some of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

from statecache.errors import StateCacheError
from statecache.study.bench.engine_rate import measure_engine
from statecache.study.bench.hits import measure_hits, measure_local_hits
from statecache.study.bench.memory import measure_memory
from statecache.study.bench.mixes import measure_mixes
from statecache.study.bench.options import measure_options
from statecache.study.bench.paths import measure_paths, measure_reads
from statecache.study.bench.proof import measure_proof
from statecache.study.bench.replay_rate import measure_replay
from statecache.study.bench.report import Report
from statecache.study.bench.rows import Findings
from statecache.study.bench.stage import FULL, QUICK, Stage
from statecache.study.bench.staleness import measure_staleness
from statecache.study.bench.tools import measure_tools
from statecache.study.progress import Reporter
from statecache.study.servers import Servers

__all__ = ["BENCHES", "Bench", "run_benches"]


class Bench(NamedTuple):
    """A benchmark; ``weight`` is about how many seconds it takes, for the progress bar."""

    what: str
    measure: Callable[[Stage], Awaitable[Findings]]
    weight: float


#: Name → benchmark, in the order in which they run.
BENCHES: dict[str, Bench] = {
    "reads": Bench("the managers without a cache against psycopg by hand", measure_reads, 60),
    "hits": Bench("a hit in Redis against redis-py", measure_hits, 30),
    "local-hits": Bench("a hit in the process against its peers", measure_local_hits, 30),
    "paths": Bench("hit and miss against other cache libraries", measure_paths, 40),
    "mix": Bench("80/20 under concurrent callers, mechanism by mechanism", measure_mixes, 480),
    "engine": Bench("the trigger engine's events a second", measure_engine, 60),
    "memory": Bench("what states take in Redis", measure_memory, 60),
    "options": Bench("what options cost", measure_options, 230),
    "tools": Bench("hits and reads against redis-benchmark and pgbench", measure_tools, 25),
    "proof": Bench("the harness: no false finding, and no slowdown missed", measure_proof, 25),
    "replay": Bench("the exact replay against libCacheSim", measure_replay, 150),
    "staleness": Bench("until another process sees a write", measure_staleness, 60),
}


def run_benches(names: Sequence[str], servers: Servers, report: Report, progress: Reporter) -> None:
    """Run benchmarks one after the other; what each finds is added to the report as it ends.

    One that fails is noted there, and the others go on. After Ctrl-C the report holds the rest.
    """
    report.status = "interrupted"
    for name, stage in _stages(names, servers, report, progress):
        try:
            report.add(name, asyncio.run(_measure(BENCHES[name], stage)))
        except StateCacheError as error:
            report.fail(name, error)
    report.status = "failed" if report.failures else "complete"


def _stages(
    names: Sequence[str], servers: Servers, report: Report, progress: Reporter
) -> Iterator[tuple[str, Stage]]:
    """Yield each benchmark with a stage that knows which part of the run it is."""
    effort = QUICK if report.quick else FULL
    total = sum(BENCHES[name].weight for name in names)
    done = 0.0
    for name in names:
        weight = BENCHES[name].weight

        def tell(
            share: float, name: str = name, done: float = done, weight: float = weight
        ) -> None:
            progress(min(1.0, (done + share * weight) / total), name)

        tell(0.0)
        yield name, Stage(servers, effort, report.seed, tell)
        done += weight


async def _measure(bench: Bench, stage: Stage) -> Findings:
    return await bench.measure(stage)

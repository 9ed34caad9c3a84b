"""What is measured: paths of a load and of a write, by drivers and sizes; and a stall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import pandas as pd

from statecache.study.harness.aside import run_aside
from statecache.study.harness.campaign import Campaign, Measurements, again
from statecache.study.harness.drives import Closed, Drive, Open
from statecache.study.harness.stand import Condition
from statecache.study.harness.variants import NONE, REDIS, Variant
from statecache.study.harness.workloads import Workload, recorded_read_share
from statecache.study.progress import report_progress
from statecache.study.questions.latency.stalled import record
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers

__all__ = [
    "NOTEBOOK",
    "PATHS",
    "RECORDED",
    "Latencies",
    "LatencySettings",
    "Path",
    "conditions",
    "measure",
]

NOTEBOOK: Final = "latency"

#: Connections of each pool: more than an open loop at a moderate rate ever uses.
POOL_SIZE: Final = 8
#: The most requests that an open loop has in flight; threads are dearer.
OPEN_CALLERS: Final = 64
OPEN_THREADS: Final = 16


@dataclass(frozen=True, slots=True)
class Path:
    """A way that an operation takes: through which manager, and what is asked of it."""

    name: str
    variant: Variant
    #: The operation whose latency is meant, as cells name it.
    operation: str = "load"
    #: Shares of the requests; what is neither is an update.
    read_share: float = 1.0
    delete_share: float = 0.0
    #: Whether it is also measured with threads, under open load, and with larger documents.
    everywhere: bool = True
    #: States, where it has to be another number than elsewhere.
    keys: int | None = None


#: Every entry has expired long before its key is asked for again.
EXPIRED: Final = replace(REDIS, ttl_s=0.01, mark="expired")
#: About half of the loads of few keys hit, at the rates that one caller reaches.
SHORT: Final = replace(REDIS, ttl_s=0.02, mark="short TTL")
FEW_KEYS: Final = 32

PATHS: Final = (
    Path("database read", NONE),
    Path("hit in Redis", REDIS),
    Path("hit in process", replace(REDIS, memory=True)),
    Path("miss", EXPIRED, everywhere=False),
    Path("half hits", SHORT, everywhere=False, keys=FEW_KEYS),
    Path("update", NONE, "update", read_share=0.0),
    Path("update, cached", REDIS, "update", read_share=0.0),
    # What was deleted must come back: half of the requests are updates.
    Path("delete", NONE, "delete", read_share=0.0, delete_share=0.5, everywhere=False),
    Path("delete, cached", REDIS, "delete", read_share=0.0, delete_share=0.5, everywhere=False),
)


#: Loads of a recorded stream, whatever they meet.
RECORDED: Final = (
    ("recorded loads, no cache", NONE),
    ("recorded loads, Redis", REDIS),
    ("recorded loads, Redis and in process", replace(REDIS, memory=True)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySettings:
    """How much to measure."""

    #: Turns in which every condition is measured once.
    blocks: int
    #: Of one caller, and of the open load, in seconds of each block.
    closed_s: float
    open_s: float
    #: Requests a second of the open load.
    rate_per_s: float
    #: Median sizes of the documents in bytes; the first is measured in every way.
    sizes: Sequence[int]
    #: States, all asked for alike.
    keys: int
    #: How long the server stands still, and the length of that run, in seconds.
    stall_s: float
    stall_run_s: float
    seed: int
    #: A recorded stream that is driven in its own rhythm, beside what is measured anyway.
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Latencies:
    """What was measured; ``stall`` has the columns of ``stalled.record``."""

    settings: LatencySettings
    measurements: Measurements
    stall: pd.DataFrame = field(repr=False)


def conditions(settings: LatencySettings) -> list[Condition]:
    """Return what every block measures; labels: path, operation, driver, size."""
    found = list(_conditions(settings))
    return [*found, again(found[0])]


def measure(settings: LatencySettings, servers: Servers, folder: RunFolder) -> Latencies:
    """Measure what ``folder`` does not hold yet, and return all of it. Raises ``StudyError``."""
    with report_progress() as report:
        campaign = Campaign(
            servers=servers,
            folder=folder,
            notebook=NOTEBOOK,
            seed=settings.seed,
            pool_size=POOL_SIZE,
            on_progress=lambda share, what: report(0.9 * share, what),
        )
        chosen = conditions(settings)
        measurements = run_aside(lambda: campaign.measure(chosen, settings.blocks))
        report(0.9, f"{NOTEBOOK}, a server that stands still")
        stall = _stall(settings, servers, folder)
        report(1.0, "measured")
    return Latencies(settings, measurements, stall)


def _conditions(settings: LatencySettings) -> Iterator[Condition]:
    one_caller = Closed(1, settings.closed_s)
    load = Open(OPEN_CALLERS, settings.open_s, settings.rate_per_s)
    for number, size in enumerate(settings.sizes):
        for path in PATHS:
            if number == 0 or path.everywhere:
                yield _condition(settings, path, "one caller, async", one_caller, size)
        if number:
            continue
        for path in filter(lambda one: one.everywhere, PATHS):
            threads = replace(path, variant=replace(path.variant, threads=True))
            yield _condition(settings, threads, "one caller, threads", one_caller, size)
            yield _condition(settings, path, "open load, async", load, size)
            if path.operation == "load":
                few = replace(load, callers=OPEN_THREADS)
                yield _condition(settings, threads, "open load, threads", few, size)
    if settings.trace and recorded_read_share(settings.trace):
        yield from _recorded(settings)


def _recorded(settings: LatencySettings) -> Iterator[Condition]:
    """Yield the recorded stream, in its own rhythm at the rate of the open load."""
    drive = Open(OPEN_CALLERS, settings.open_s, settings.rate_per_s, "recorded")
    workload = Workload(trace=settings.trace)
    for name, variant in RECORDED:
        yield Condition(
            cell=f"{name}, recorded arrivals",
            variant=variant,
            workload=workload,
            drive=drive,
            labels={
                "path": name,
                "operation": "load",
                "driver": "recorded arrivals",
                "size": int(settings.sizes[0]),
            },
        )


def _condition(
    settings: LatencySettings, path: Path, driver: str, drive: Drive, size: int
) -> Condition:
    workload = Workload(
        keys=path.keys or settings.keys,
        popularity="uniform",
        read_share=path.read_share,
        delete_share=path.delete_share,
        size_bytes=size,
    )
    return Condition(
        cell=f"{path.name}, {driver}, {size} B",
        variant=path.variant,
        workload=workload,
        drive=drive,
        labels={"path": path.name, "operation": path.operation, "driver": driver, "size": size},
    )


def _stall(settings: LatencySettings, servers: Servers, folder: RunFolder) -> pd.DataFrame:
    """Return the record of the stall, from the folder where it is kept."""
    chosen = settings.stall_s, settings.stall_run_s, settings.rate_per_s, settings.keys
    name = "stall-" + "-".join(f"{value:g}" for value in chosen)
    frame = folder.read_cell(NOTEBOOK, name)
    if frame is None:
        frame = record(
            servers,
            keys=settings.keys,
            rate_per_s=settings.rate_per_s,
            seconds=settings.stall_run_s,
            stall_s=settings.stall_s,
            seed=settings.seed,
        )
        folder.write_cell(NOTEBOOK, name, frame)
    return frame

"""The TTL sweep: several weeks of one stream, a manager per TTL and one without a cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from statecache.study.flights import flight_stream
from statecache.study.live_pass import Variant, run_pass
from statecache.study.progress import report_progress
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers
from statecache.study.sweep_cells import Cells, cells_of

__all__ = ["UNCACHED", "Sweep", "SweepSettings", "measure"]

UNCACHED = "uncached"

NOTEBOOK = "ttl_sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """What to replay and which TTLs to compare."""

    #: First day of each pass, as ``2013-02-04``.
    starts: Sequence[str]
    #: Length of a pass, in days of event time.
    days: float
    #: Event seconds in a second of wall clock.
    time_scale: float
    #: TTLs, in minutes of event time.
    ttls_min: Sequence[float]
    #: Reads beside the engine: before, schedule, landing.
    looks: Sequence[str]
    #: What the cache may cost a call, in ms; generous, so that a busy machine adds no miss.
    timeout_ms: int
    seed: int

    def live_ttl_ms(self, ttl_min: float) -> int:
        """Return the TTL in wall-clock milliseconds, as the cache is given it."""
        return max(1, round(ttl_min * 60_000 / self.time_scale))

    @property
    def fingerprint(self) -> str:
        """A short hash of all that a cell depends on, so that no run takes another one's cells."""
        chosen = asdict(self)
        del chosen["starts"]
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]

    def stream(self, start: str) -> pd.DataFrame:
        """Return the stream of the pass that begins on ``start``; see ``flight_stream``."""
        return flight_stream(start=start, days=self.days, looks=self.looks, seed=self.seed)


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was measured; ``cells`` and ``histograms`` have the columns of ``sweep_cells.Cells``."""

    settings: SweepSettings
    cells: pd.DataFrame
    histograms: pd.DataFrame
    #: First days of the passes that were measured twice because the machine was not quiet.
    repeated: list[str]


async def measure(settings: SweepSettings, servers: Servers, folder: RunFolder) -> Sweep:
    """Run every pass that ``folder`` does not hold yet, and return all of them.

    A pass whose planned times went wrong on a machine that was not quiet is repeated once; of the
    two, the one with the quicker commits is kept, whatever it shows.
    """
    kept: list[Cells] = []
    repeated = []
    total = len(settings.starts)
    with report_progress() as report:
        for number, start in enumerate(settings.starts):

            def on_progress(share: float, done: int = number) -> None:
                report((done + share) / total, f"pass {done + 1} of {total}")

            def attempt(attempt: int, start: str = start) -> Coroutine[None, None, Cells]:
                return _attempt(
                    settings, servers, folder, start=start, attempt=attempt, on_progress=on_progress
                )

            attempts = [await attempt(1)]
            if attempts[0].wants_repeat:
                repeated.append(start)
                attempts.append(await attempt(2))
            kept.append(min(attempts, key=lambda cells: cells.commit_p99_us))
        report(1.0, f"pass {total} of {total}")
    return Sweep(
        settings,
        pd.concat([cells.cells for cells in kept], ignore_index=True),
        pd.concat([cells.histograms for cells in kept], ignore_index=True),
        repeated,
    )


async def _attempt(
    settings: SweepSettings,
    servers: Servers,
    folder: RunFolder,
    *,
    start: str,
    attempt: int,
    on_progress: Callable[[float], None],
) -> Cells:
    """Measure a pass, or take it from the folder where an interrupted run has left it."""
    cell = f"{start}-{attempt}-{settings.fingerprint}"
    frame, buckets = folder.read_cell(NOTEBOOK, cell), folder.read_cell(NOTEBOOK, f"{cell}.latency")
    if frame is not None and buckets is not None:
        on_progress(1.0)
        return Cells(frame, buckets)
    stream = settings.stream(start)
    variants = {f"ttl_{minutes:g}m".replace(".", "_"): minutes for minutes in settings.ttls_min}
    record = await run_pass(
        stream,
        [
            Variant(UNCACHED),
            *(Variant(name, settings.live_ttl_ms(minutes)) for name, minutes in variants.items()),
        ],
        servers,
        time_scale=settings.time_scale,
        timeout_ms=settings.timeout_ms,
        on_progress=on_progress,
    )
    cells = cells_of(
        record,
        stream,
        ttl_min={UNCACHED: float("nan")} | variants,
        live_ttl_ms=settings.live_ttl_ms,
        labels={"start": start, "attempt": attempt},
    )
    folder.write_cell(NOTEBOOK, f"{cell}.latency", cells.histograms)
    folder.write_cell(NOTEBOOK, cell, cells.cells)
    return cells

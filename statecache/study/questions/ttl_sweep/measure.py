"""The TTL sweep: several weeks of one stream, a manager per TTL and one without a cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from statecache.study.flights import flight_stream
from statecache.study.progress import report_progress
from statecache.study.questions.ttl_sweep.cells import Cells, cells_of
from statecache.study.questions.ttl_sweep.live_pass import Variant, run_pass
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers

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

    Then passes that the machine has disturbed are repeated once: every one in which live and
    executed times disagree, which the second attempt replaces, and the most disturbed one of
    those in which only the planned times went wrong; of its two attempts the one with the quicker
    commits is kept, whatever it shows.
    """
    with report_progress() as report:

        async def attempt(number: int, start: str, done: int, total: int) -> Cells:
            def on_progress(share: float) -> None:
                report((done + share) / total, f"pass {done + 1} of {total}")

            return await _attempt(
                settings, servers, folder, start=start, attempt=number, on_progress=on_progress
            )

        first = len(settings.starts)
        kept = {
            start: await attempt(1, start, done, first)
            for done, start in enumerate(settings.starts)
        }
        again = _disturbed(kept)
        for done, start in enumerate(again, first):
            second = await attempt(2, start, done, first + len(again))
            if kept[start].executed_is_off or second.commit_p99_us < kept[start].commit_p99_us:
                kept[start] = second
        report(1.0, "measured")
    return Sweep(
        settings,
        pd.concat([cells.cells for cells in kept.values()], ignore_index=True),
        pd.concat([cells.histograms for cells in kept.values()], ignore_index=True),
        again,
    )


def _disturbed(passes: Mapping[str, Cells]) -> list[str]:
    """Return the first days of the passes that are worth a second attempt."""
    failed = [start for start, cells in passes.items() if cells.executed_is_off]
    noisy = [start for start, cells in passes.items() if cells.planned_is_off_by_noise]
    worst = max(noisy, key=lambda start: passes[start].commit_p99_us, default=None)
    return failed if worst is None or worst in failed else [*failed, worst]


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

"""The job: survey, split by key, replay each partition, add up.

One pass writes every row where its key belongs; then each partition is read once. Filtering the
folder once per partition instead costs a pass a partition, and is no faster even with two of them
(docs/TUNING.md has the figures).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, ParamSpec

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.errors import first_line
from statecache.study.errors import StudyError
from statecache.study.progress import Reporter
from statecache.study.replay import Expiry, Tally, Writes, curve_of, tally
from statecache.study.replay.settings import Behaviour, checked_ttls
from statecache.study.scale.partitions import MAX_PARTITIONS, Partition, read_partition, split_unit
from statecache.study.scale.survey import Survey, survey_folder
from statecache.study.scale.team import Alone, Team
from statecache.study.traces import Trace

__all__ = ["distributed_tally", "hit_curve_of_folder", "replay_partitions"]

_Options = ParamSpec("_Options")

ROW_BYTES: Final = 150
"""Memory that a request takes while its partition is replayed, with sizes; names come on top."""

_PARTITIONS_PER_WORKER: Final = 4
"""So that one with a frequent key does not leave the other workers without work for long."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every partition."""

    ttls: NDArray[np.float64]
    behaviour: Behaviour

    def answer(self, trace: Trace, span_s: tuple[float, float] | None) -> Tally:
        """Replay a trace, or a part of one that spans ``span_s``."""
        return tally(trace, self.ttls, **asdict(self.behaviour), span_s=span_s)


def distributed_tally(
    folder: str | Path,
    ttls: Iterable[float],
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    memory: int | None = None,
    partitions: int | None = None,
    scratch: str | Path | None = None,
    expiry: Expiry = "fixed",
    writes: Writes = "through",
    bypass_share: float = 0.0,
    seed: int = 0,
    on_progress: Reporter | None = None,
) -> Tally:
    """Replay a folder of parquet files that need not fit into memory, nor be sorted.

    Rows are those that ``read_trace`` would read, in its order, and so are all counts of the
    result; sums of seconds differ in how they were rounded. All operations on a key are in one
    partition, which must fit into the memory of a worker. ``ttls``, ``expiry``, ``writes``,
    ``bypass_share`` and ``seed`` are those of ``tally``.

    scheduler   address of a running Dask scheduler, ``tcp://host:port``; None for processes of
                this machine, which then needs the usual ``if __name__ == "__main__"`` in a script
    workers     how many processes of this machine, by default one a processor; 1 does everything
                in this process, without Dask
    memory      bytes that a worker may use; by default the machine's divided among its workers, or
                what the scheduler's workers are limited to
    partitions  by default enough for the memory of a worker, and four a worker
    scratch     a folder for about 15 bytes a request, by default the system's for temporary files;
                under the same path for all workers. What is written there is removed at the end.

    Raises TraceError where the folder is no trace, and StudyError for a bad option, where Dask is
    missing or out of reach, and where workers are lost more often than Dask repeats.
    """
    question = Question(checked_ttls(ttls), Behaviour(expiry, writes, bypass_share, seed))
    _check_counts(workers=workers, memory=memory, partitions=partitions)
    survey = survey_folder(folder)
    if not survey.rows:
        nothing = read_partition(Partition(files=(), number=0, of=1, rows=0))
        return question.answer(nothing, None)
    with _scratch_folder(scratch) as parts, _team(scheduler, workers, memory, parts) as team:
        team.check_sees(str(parts), *{unit.path for unit in survey.units})
        limit = min(memory or team.memory, team.memory)
        return replay_partitions(
            team,
            survey,
            parts,
            question,
            partitions=partitions or suggested_partitions(survey.rows, limit, team.size),
            memory=limit,
            on_progress=on_progress or _silently,
        )


def _curve_by(tally_by: Callable[_Options, Tally]) -> Callable[_Options, pd.DataFrame]:
    @wraps(tally_by)
    def curve(*arguments: _Options.args, **options: _Options.kwargs) -> pd.DataFrame:
        """Return what ``hit_curve`` returns, of a folder; with :func:`distributed_tally`'s options.

        Columns and counts are those of ``hit_curve(read_trace(folder), …)``.
        """
        return curve_of(tally_by(*arguments, **options))

    return curve


hit_curve_of_folder = _curve_by(distributed_tally)


def suggested_partitions(rows: int, memory: int, workers: int) -> int:
    """Return how many partitions leave two thirds of a worker's memory to frequent keys."""
    for_memory = -(-3 * rows * ROW_BYTES // memory)
    return min(max(_PARTITIONS_PER_WORKER * workers, for_memory), MAX_PARTITIONS)


def replay_partitions(
    team: Team,
    survey: Survey,
    folder: Path,
    question: Question,
    *,
    partitions: int,
    memory: int,
    on_progress: Reporter,
) -> Tally:
    """Have a team split the trace into files in ``folder``, and replay them."""
    files = tuple(str(folder / f"unit-{number:06d}.arrow") for number in range(len(survey.units)))
    splits = team.map(
        split_unit,
        [
            (unit, survey.columns, partitions, file)
            for unit, file in zip(survey.units, files, strict=True)
        ],
        _steps(on_progress, 0.0, 0.5, len(files), "splitting by key"),
    )
    rows = np.sum([split.rows for split in splits], axis=0)
    _check_fits(int(rows.max()), survey.rows, memory)
    span_s = min(split.first_s for split in splits), max(split.last_s for split in splits)
    filled = [
        Partition(files, number, partitions, count)
        for number, count in enumerate(rows.tolist())
        if count
    ]
    tallies = team.map(
        tally_partition,
        [(partition, question, span_s) for partition in filled],
        _steps(on_progress, 0.5, 1.0, len(filled), "replaying"),
    )
    return sum(tallies[1:], tallies[0])


def tally_partition(partition: Partition, question: Question, span_s: tuple[float, float]) -> Tally:
    """Read a partition and replay it; ``span_s`` is that of the whole trace."""
    return question.answer(read_partition(partition), span_s)


def _check_fits(largest: int, rows: int, memory: int) -> None:
    if largest * ROW_BYTES > memory:
        raise StudyError(
            f"The largest partition has {largest:,} of {rows:,} requests and needs about "
            f"{largest * ROW_BYTES / 2**30:.2g} GiB, a worker may use {memory / 2**30:.2g} GiB: "
            "use more partitions, or more memory a worker if that does not help, since a key is "
            "not divided."
        )


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        highest = MAX_PARTITIONS if name == "partitions" else None
        if count is not None and (count < 1 or count > (highest or count)):
            allowed = f"1 to {highest}" if highest else "at least 1"
            raise StudyError(f"{name} is {count}: take {allowed}.")


@contextmanager
def _scratch_folder(where: str | Path | None) -> Iterator[Path]:
    try:
        folder = TemporaryDirectory(prefix="statecache-scale-", dir=where)
    except OSError as error:
        raise StudyError(
            f"No folder can be made in {where} for the partitions ({first_line(error)}): give "
            "another one as scratch."
        ) from error
    with folder as path:
        yield Path(path).resolve()


@contextmanager
def _team(
    scheduler: str | None, workers: int | None, memory: int | None, folder: Path
) -> Iterator[Team]:
    if scheduler is not None and workers is not None:
        raise StudyError("workers are processes of this machine: leave them out with a scheduler.")
    if scheduler is None and (workers or os.cpu_count() or 1) == 1:
        yield Alone()
        return
    try:
        from statecache.study.scale import cluster  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
            raise
        raise StudyError(
            "More than one process needs Dask: pip install 'statecache[scale]'."
        ) from error
    chosen = (
        cluster.local_team(workers or os.cpu_count() or 1, memory, folder)
        if scheduler is None
        else cluster.connected_team(scheduler)
    )
    with chosen as team:
        yield team


def _steps(
    on_progress: Reporter, start: float, end: float, steps: int, what: str
) -> Callable[[], None]:
    done = 0

    def on_done() -> None:
        nonlocal done
        done += 1
        on_progress(start + (end - start) * done / steps, what)

    return on_done


def _silently(share: float, what: str) -> None:
    """Report to nobody."""

"""A folder divided by key: split once, then replayed a partition at a time, as often as one likes.

One pass writes every row where its key belongs; then each partition is read once a replay. The
other way, filtering the folder once per partition, costs a pass a partition and is no faster even
with two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.errors import first_line
from statecache.study.errors import StudyError
from statecache.study.replay import Tally, tally
from statecache.study.scale.partitions import (
    MAX_PARTITIONS,
    Partition,
    Split,
    read_partition,
    split_unit,
)
from statecache.study.scale.survey import Survey, survey_folder
from statecache.study.scale.team import Alone, Team, chosen_team
from statecache.study.traces import TraceError
from statecache.study.traces import rows as lines
from statecache.study.traces.layout import Columns
from statecache.study.traces.reading import OnProgress

__all__ = ["Divided", "Where", "divided", "part_of"]

ROW_BYTES: Final = 100
"""Memory that a request takes while its partition is replayed, where it was measured at 93; the
names of keys come on top."""

LATE_ROW_BYTES: Final = 250
"""The same where operations take time, so that each is two events, all of them sorted."""

_PARTITIONS_PER_WORKER: Final = 4
"""So that one with a frequent key does not leave the other workers without work for long."""


class Where(TypedDict, total=False):
    """Where the work is done.

    scheduler   address of a running Dask scheduler, ``tcp://host:port``; by default processes of
                this machine, which need the usual ``if __name__ == "__main__"`` in a script
    workers     how many processes of this machine, by default one a processor; 1 does everything
                in this process, without Dask
    memory      bytes that a worker may use; by default the machine's divided among its workers, or
                what the scheduler's workers are limited to
    partitions  by default enough for the memory of a worker, and four a worker
    scratch     a folder for some 20 bytes a request and the names of keys, by default the system's
                for temporary files; under the same path for all workers. What is written there is
                removed at the end.
    """

    scheduler: str | None
    workers: int | None
    memory: int | None
    partitions: int | None
    scratch: str | Path | None


class Divided:
    """The partitions, and the team that replays them.

    operations  how many there are
    span_s      the first and the last instant
    lines       rows that there were, and those that are malformed and left out
    keys        how many there are, once something was replayed
    """

    def __init__(self, team: Team, files: tuple[str, ...], splits: list[Split]) -> None:
        rows = np.sum([split.rows for split in splits], axis=0, dtype=np.int64, initial=0)
        self.operations = int(rows.sum())
        self.largest = int(rows.max(initial=0))
        self.lines = sum((split.lines for split in splits), lines.Tally())
        self.keys = 0
        self.span_s = (0.0, 0.0)
        if self.operations:
            self.span_s = min(one.first_s for one in splits), max(one.last_s for one in splits)
        sized = any(split.sized for split in splits)
        self._team = team
        self._partitions = [
            Partition(files, number, rows.size, sized) for number in np.flatnonzero(rows).tolist()
        ] or [Partition((), 0, 1, sized)]  # of no rows at all there is a tally, too

    def tally(
        self, ttls: NDArray[np.float64], behaviour: dict[str, Any], on_progress: OnProgress
    ) -> Tally:
        """Replay all partitions; ``behaviour`` are the options of ``replay.tally``."""
        found = self._team.map(
            _tally_partition,
            [(partition, ttls, behaviour, self.span_s) for partition in self._partitions],
            _steps(on_progress, len(self._partitions), "replaying"),
        )
        tallies = [sums for sums, _ in found]
        self.keys = sum(keys for _, keys in found)
        return sum(tallies[1:], tallies[0])


@contextmanager
def divided(
    folder: str | Path,
    columns: Columns | None,
    where: Where,
    on_progress: OnProgress,
) -> Iterator[Divided]:
    """Divide a parquet file or a folder of such by key; the partitions are removed at the end.

    Rows that are malformed are left out and counted. Raises TraceError where the folder is no
    trace, and StudyError for a bad option, where workers are out of reach, are lost more
    often than Dask repeats, or have too little memory for the largest partition.
    """
    _check_counts(where)
    survey = survey_folder(folder, columns)
    memory = where.get("memory")
    with _scratch_folder(where.get("scratch")) as scratch:
        chosen = chosen_team(where.get("scheduler"), where.get("workers"), memory, scratch)
        with chosen if survey.rows else nullcontext(Alone()) as team:
            pieces = {piece.path for unit in survey.units for piece in unit.pieces}
            team.check_sees(str(scratch), *sorted(pieces))
            limit = min(memory or team.memory, team.memory)
            each = LATE_ROW_BYTES if "armed_s" in survey.reading.roles else ROW_BYTES
            needed = survey.rows * each
            count = where.get("partitions") or suggested_partitions(needed, limit, team.size)
            found = _split(team, survey, scratch, count, on_progress)
            _check_lines(folder, found.lines)
            _check_fits(found, found.largest * each, limit)
            yield found


def suggested_partitions(needed: int, memory: int, workers: int) -> int:
    """Return how many partitions of so many bytes leave two thirds of a worker's to frequent keys.

    A partition can be no smaller than its most frequent key, so some are larger than others.
    """
    for_memory = -(-3 * needed // memory)
    return min(max(_PARTITIONS_PER_WORKER * workers, for_memory), MAX_PARTITIONS)


def part_of(on_progress: OnProgress, start: float, end: float) -> OnProgress:
    """Return where to report the progress of a part of the work."""
    return lambda share, what: on_progress(start + (end - start) * share, what)


def _split(
    team: Team, survey: Survey, folder: Path, partitions: int, on_progress: OnProgress
) -> Divided:
    files = tuple(str(folder / f"unit-{number:06d}.arrow") for number in range(len(survey.units)))
    splits = team.map(
        split_unit,
        [
            (unit, survey.reading, partitions, file)
            for unit, file in zip(survey.units, files, strict=True)
        ],
        _steps(on_progress, len(files), "dividing by key"),
    )
    return Divided(team, files, splits)


def _tally_partition(
    partition: Partition,
    ttls: NDArray[np.float64],
    behaviour: dict[str, Any],
    span_s: tuple[float, float],
) -> tuple[Tally, int]:
    """Read a partition and replay it; return the number of its keys as well."""
    trace = read_partition(partition)
    return tally(trace, ttls, **behaviour, span_s=span_s), int(pd.unique(trace.key).size)


def _check_lines(folder: str | Path, found: lines.Tally) -> None:
    if found.first_malformed is not None and found.malformed == found.lines:
        row, reason = found.first_malformed
        raise TraceError(
            f"No row of {folder} can be read as an operation (row {row}: {reason}): name other "
            "columns."
        )


def _check_fits(found: Divided, needed: int, memory: int) -> None:
    if needed > memory:
        raise StudyError(
            f"The largest partition has {found.largest:,} of {found.operations:,} requests and "
            f"needs about {needed / 2**30:.2g} GiB, a worker may use {memory / 2**30:.2g} GiB: use "
            "more partitions, or more memory a worker if that does not help, since a key is not "
            "divided."
        )


def _check_counts(where: Where) -> None:
    for name in ("workers", "memory", "partitions"):
        count = where.get(name)
        highest = MAX_PARTITIONS if name == "partitions" else None
        if isinstance(count, int) and (count < 1 or count > (highest or count)):
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


def _steps(on_progress: OnProgress, steps: int, what: str) -> Callable[[], None]:
    done = 0

    def on_done() -> None:
        nonlocal done
        done += 1
        on_progress(done / steps, what)

    return on_done

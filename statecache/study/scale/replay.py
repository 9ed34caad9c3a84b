"""The curve of a folder, as ``replay`` has that of a trace in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Unpack

import pandas as pd

from statecache.study.replay import Expiry, Tally, Writes, curve_of
from statecache.study.replay.settings import Behaviour, checked_ttls
from statecache.study.scale.divided import Where, divided, part_of
from statecache.study.traces.layout import Columns
from statecache.study.traces.reading import OnProgress

__all__ = ["distributed_tally", "hit_curve_of_folder"]

log = logging.getLogger("statecache")


def distributed_tally(
    folder: str | Path,
    ttls: Iterable[float],
    *,
    columns: Columns | None = None,
    expiry: Expiry = "fixed",
    writes: Writes = "through",
    bypass_share: float = 0.0,
    seed: int = 0,
    on_progress: OnProgress = lambda _share, _what: None,
    **where: Unpack[Where],
) -> Tally:
    """Replay parquet files that need not fit into memory, nor be sorted.

    Rows are those that ``read_trace`` would read, in its order, and so are all counts of the
    result; sums of seconds differ in how they were rounded. All operations on a key are in one
    partition, which must fit into the memory of a worker. Rows that are malformed are left out and
    logged as a warning. ``columns`` are those of ``read_trace``,
    ``ttls``, ``expiry``, ``writes``, ``bypass_share`` and ``seed`` those of ``tally``; where the
    work is done, :class:`Where` says. ``on_progress`` is told the share that is done, and what is
    being done.

    Raises TraceError where the folder is no trace, and StudyError for a bad option, where Dask is
    missing or out of reach, where workers are lost more often than Dask repeats, and where a
    partition is too large for them.
    """
    asked = checked_ttls(ttls)
    behaviour = asdict(Behaviour(expiry, writes, bypass_share, seed))
    with divided(folder, columns, where, part_of(on_progress, 0.0, 0.5)) as parts:
        if parts.lines.first_malformed is not None:
            row, reason = parts.lines.first_malformed
            log.warning(
                "%s: %d of %d rows are malformed and left out; the first is row %d: %s",
                folder, parts.lines.malformed, parts.lines.lines, row, reason,
            )  # fmt: skip
        return parts.tally(asked, behaviour, part_of(on_progress, 0.5, 1.0))


def hit_curve_of_folder(
    folder: str | Path,
    ttls: Iterable[float],
    *,
    columns: Columns | None = None,
    expiry: Expiry = "fixed",
    writes: Writes = "through",
    bypass_share: float = 0.0,
    seed: int = 0,
    on_progress: OnProgress = lambda _share, _what: None,
    **where: Unpack[Where],
) -> pd.DataFrame:
    """Return what ``hit_curve(read_trace(folder), …)`` does; see :func:`distributed_tally`."""
    sums = distributed_tally(
        folder,
        ttls,
        columns=columns,
        expiry=expiry,
        writes=writes,
        bypass_share=bypass_share,
        seed=seed,
        on_progress=on_progress,
        **where,
    )
    return curve_of(sums)

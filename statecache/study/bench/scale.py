"""``python -m statecache.study.bench.scale [ROWS ...]``: what dividing a trace costs and gains.

Replays drawn traces of so many requests (by default a million and ten millions) under 100 TTLs in
memory, in parts by one process, and by two worker processes, started for it or running already.
Prints a row for each. It needs no servers, and some 50 bytes of disk a request.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from statecache.study.errors import StudyError
from statecache.study.replay import hit_curve
from statecache.study.scale import hit_curve_of_folder
from statecache.study.traces import OPERATIONS, read_trace

__all__ = ["compare", "write_drawn"]

ROUNDS: Final = 3
TTLS: Final = np.geomspace(1.0, 86_400.0, 100)

_SEED: Final = 20130204
_FILE_ROWS: Final = 1_000_000
_MIX: Final = (0.8, 0.18, 0.02)  # of the operations
_ZIPF: Final = 1.2
_KEYS: Final = 1_000_000
_DAY_S: Final = 86_400.0

Curve = Callable[[Path], pd.DataFrame]


class _Figures(NamedTuple):
    seconds: float
    cpu_s: float
    peak_mb: float
    hits: int


def write_drawn(folder: Path, rows: int) -> None:
    """Write a day of zipf-distributed requests in no order, a million a file."""
    rng = np.random.default_rng(_SEED)
    for number, start in enumerate(range(0, rows, _FILE_ROWS)):
        count = min(_FILE_ROWS, rows - start)
        codes = rng.choice(len(OPERATIONS), count, p=_MIX).astype(np.int8)
        table = pa.table(
            {
                "time_s": rng.uniform(0, _DAY_S, count),
                "key": rng.zipf(_ZIPF, count) % _KEYS,
                "op": pa.DictionaryArray.from_arrays(codes, pa.array(OPERATIONS)),
                "size": rng.integers(100, 2_000, count).astype(np.int32),
            }
        )
        pq.write_table(table, folder / f"part-{number:05d}.parquet", row_group_size=250_000)


def compare(folder: Path, rows: int, scheduler: str, rounds: int = ROUNDS) -> pd.DataFrame:
    """Return how long each way takes, one row a way, in processes of their own.

    Columns: requests, way, seconds (median of the rounds), least_s, most_s, rows_per_s, cpu_s (of
    all processes, their start included; without those of a running cluster) and peak_mb, the
    memory of the largest process. Raises StudyError where two ways do not count the same.
    """
    ways: dict[str, Curve] = {
        "in memory": in_memory,
        "one process, in parts": partial(in_parts, workers=1),
        "two processes": partial(in_parts, workers=2),
        "two processes, running": partial(in_parts, scheduler=scheduler),
    }
    measured: dict[str, list[_Figures]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, curve in ways.items():  # in turns, since what else runs is not the same all along
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                measured[way].append(process.submit(_timed, curve, folder).result())
    hits = {one.hits for figures in measured.values() for one in figures}
    if len(hits) > 1:
        raise StudyError(f"The ways counted differently ({len(hits)} sums of hits): report this.")
    return pd.DataFrame([_row(rows, way, figures) for way, figures in measured.items()])


def in_memory(folder: Path) -> pd.DataFrame:
    """Return the curve by reading all of the trace."""
    return hit_curve(read_trace(folder), TTLS)


def in_parts(folder: Path, **where: Any) -> pd.DataFrame:
    """Return the curve of a divided trace."""
    return hit_curve_of_folder(folder, TTLS, **where)


def _timed(curve: Curve, folder: Path) -> _Figures:
    started = time.perf_counter()
    found = curve(folder)
    seconds = time.perf_counter() - started
    # whatever was started has ended, or it belongs to a cluster that was there before
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    peak = max(one.ru_maxrss for one in used) * (1 if sys.platform == "darwin" else 1024)
    cpu_s = sum(one.ru_utime + one.ru_stime for one in used)
    return _Figures(seconds, cpu_s, peak / 1e6, int(found["hits"].sum()))


def _row(rows: int, way: str, figures: list[_Figures]) -> dict[str, Any]:
    seconds = [one.seconds for one in figures]
    median = float(np.median(seconds))
    return {
        "requests": rows,
        "way": way,
        "seconds": median,
        "least_s": min(seconds),
        "most_s": max(seconds),
        "rows_per_s": rows / median,
        "cpu_s": float(np.median([one.cpu_s for one in figures])),
        "peak_mb": max(one.peak_mb for one in figures),
    }


def main(arguments: list[str]) -> int:
    """Print the table; return the exit status."""
    from distributed import LocalCluster  # noqa: PLC0415 - needs the extra scale

    with ExitStack() as stack:
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            )
        )
        for rows in [int(text) for text in arguments] or [1_000_000, 10_000_000]:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="statecache-bench-")))
            write_drawn(folder, rows)
            table = compare(folder, rows, cluster.scheduler_address)
            print(table.round(2).to_string(index=False), flush=True)  # noqa: T201 - it is a command
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The exact replay: its speed beside libCacheSim's, its memory, and how its cost grows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray

from statecache.study.bench.rows import AT_LEAST, AT_MOST, Findings, Goal, Row, paired_row
from statecache.study.bench.stage import Stage
from statecache.study.errors import StudyError
from statecache.study.harness.timing import Round, interleave, median
from statecache.study.intervals import Interval, ratio_interval
from statecache.study.replay import hit_curve
from statecache.study.replay.grouping import grouped
from statecache.study.replay.replaying import replay_keys
from statecache.study.replay.settings import Behaviour
from statecache.study.traces import READ, WRITE, Trace

__all__ = ["measure_replay", "oracle_general", "zipf_trace"]

#: Interpreter with libcachesim, which is no dependency (GPL, and it brings along boto3 and pytest).
INTERPRETER: Final = "LIBCACHESIM_PYTHON"

TTLS: Final = np.geomspace(0.1, 10_000, 100)
MANY_TTLS: Final = np.geomspace(0.1, 10_000, 400)
CACHE_SHARES: Final = (0.001, 0.01, 0.1, 0.5)
"""Sizes of the LRU caches, as shares of the keys."""

_SAMPLE_S: Final = 0.001

_OURS, _ALONE, _MANY, _PART, _THEIRS = "curve", "without the sort", "400 TTLs", "a quarter", "LRU"


async def measure_replay(stage: Stage) -> Findings:
    """Measure the curve of 100 TTLs, and LRU of four sizes over the same requests.

    Without an interpreter that has libcachesim the row against it is left out, and said to be.
    """
    requests = stage.effort.requests
    trace = zipf_trace(requests, requests // 10, seed=stage.seed)
    quarter = _first(trace, requests // 4)
    hit_curve(_first(trace, 100), TTLS)  # compiles
    memory = _memory_row(trace)  # before there is freed memory that could be used again
    events = grouped(trace, Behaviour())
    horizon = float(trace.time_s[-1])
    rounds: dict[str, Round[float]] = {
        _OURS: _timed(lambda: hit_curve(trace, TTLS)),
        _ALONE: _timed(lambda: replay_keys(events, TTLS, "fixed", horizon)),
        _MANY: _timed(lambda: hit_curve(trace, MANY_TTLS)),
        _PART: _timed(lambda: hit_curve(quarter, TTLS)),
    }
    with tempfile.TemporaryDirectory() as folder:
        missing = _missing()
        if not missing:
            path = Path(folder) / "trace.oracleGeneral.bin"
            oracle_general(trace).tofile(path)
            rounds[_THEIRS] = _lru(path, [int(share * requests // 10) for share in CACHE_SHARES])
        seconds = await interleave(
            rounds, pairs=stage.effort.replay_pairs, seed=stage.seed, on_turn=stage.progress
        )
    rows = [*_rows(requests, seconds), memory]
    return Findings(rows, {"not measured": [{"yardstick": missing}]} if missing else {})


def zipf_trace(requests: int, keys: int, *, seed: int) -> Trace:
    """Return 1,000 requests a second at random, 5 % of them writes, to keys drawn by Zipf's law."""
    rng = np.random.default_rng(seed)
    popularity = np.cumsum(1 / np.arange(1, keys + 1))
    rank = np.searchsorted(popularity, rng.random(requests) * popularity[-1])
    return Trace(
        time_s=np.cumsum(rng.exponential(0.001, requests)),
        key=rng.permutation(keys).astype(np.int32)[rank],
        op=np.where(rng.random(requests) < 0.05, np.uint8(WRITE), np.uint8(READ)),
    )


def oracle_general(trace: Trace) -> NDArray[Any]:
    """Return a trace in the form that libCacheSim reads fastest: 24 bytes a request.

    Time in seconds (uint32), object (uint64), its size (uint32), and the number of the next request
    of the object (int64, -1 for none).
    """
    form = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
    rows = np.zeros(len(trace), form)
    rows["time"], rows["id"], rows["size"], rows["next"] = trace.time_s, trace.key, 1, -1
    order = np.argsort(trace.key, kind="stable")
    again = trace.key[order[1:]] == trace.key[order[:-1]]
    rows["next"][order[:-1][again]] = order[1:][again]
    return rows


def _first(trace: Trace, count: int) -> Trace:
    return Trace(time_s=trace.time_s[:count], key=trace.key[:count], op=trace.op[:count])


def _timed(call: Callable[[], object]) -> Round[float]:
    async def run() -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    return run


def _interpreter() -> str:
    return os.environ.get(INTERPRETER, sys.executable)


def _missing() -> str:
    """Return why libCacheSim cannot be measured, nothing if it can."""
    command = [_interpreter(), "-c", "import libcachesim"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    except OSError as error:
        return f"{command[0]} cannot be run ({error}): name an interpreter in {INTERPRETER}."
    if done.returncode == 0:
        return ""
    return f"libcachesim is not installed: name an interpreter that has it in {INTERPRETER}."


def _lru(path: Path, sizes: list[int]) -> Round[float]:
    """Return a round of libCacheSim; its start is not counted."""
    script = Path(__file__).with_name("_libcachesim_lru.py")
    command = [_interpreter(), str(script), str(path), *map(str, sizes)]

    async def run() -> float:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output, errors = await process.communicate()
        if process.returncode:
            last = errors.decode(errors="replace").strip().splitlines()[-1:]
            raise StudyError(f"libCacheSim failed ({' '.join(last)}): try {' '.join(command)}.")
        return float(json.loads(output)["seconds"])

    return run


def _rows(requests: int, seconds: dict[str, list[float]]) -> list[Row]:
    millions = requests / 1e6
    curve = f"exact curve of {len(TTLS)} TTLs over {millions:g} M requests"
    rates = [millions * len(TTLS) / taken for taken in seconds[_ALONE]]
    rows = [
        Row(
            name="replay_rate",
            what=f"{curve}, without the sort: (requests × TTLs)/s",
            against="an absolute goal",
            value=ratio_interval(rates, [1.0] * len(rates)),
            unit="M/s",
            goal=Goal(AT_LEAST, 1_000),
            pairs=len(rates),
            ours=median(rates),
            absolute_unit="M/s",
        ),
        paired_row(
            "replay_ttls",
            f"the same for {len(MANY_TTLS)} TTLs: time",
            f"{len(MANY_TTLS) // len(TTLS)} times that of {len(TTLS)}",
            (seconds[_MANY], [taken * len(MANY_TTLS) / len(TTLS) for taken in seconds[_OURS]]),
            goal=Goal(AT_MOST, 1.0),
            unit="s",
        ),
        paired_row(
            "replay_requests",
            f"{curve}: time",
            "4 times that of their first quarter",
            (seconds[_OURS], [4 * taken for taken in seconds[_PART]]),
            goal=Goal(AT_MOST, 1.1),
            unit="s",
        ),
    ]
    if _THEIRS in seconds:
        rows.insert(0, _lru_row(curve, seconds))
    return rows


def _lru_row(curve: str, seconds: dict[str, list[float]]) -> Row:
    processors = os.cpu_count() or 1
    shared = ratio_interval(seconds[_OURS], [taken / processors for taken in seconds[_THEIRS]])
    return paired_row(
        "replay_time",
        f"{curve}, sort included: time",
        f"libCacheSim's LRU at {len(CACHE_SHARES)} cache sizes, read by its TraceReader",
        (seconds[_OURS], seconds[_THEIRS]),
        goal=Goal(AT_MOST, 1.0),
        unit="s",
        note=f"The replay uses all {processors} processors, LRU one; spread over all of them "
        f"without loss, the ratio would be {shared.mean:.2f} ({shared.low:.2f} to "
        f"{shared.high:.2f}).",
    )


def _memory_row(trace: Trace) -> Row:
    before = psutil.Process().memory_info().rss
    with _peak() as peak:
        hit_curve(trace, TTLS)
    each = max(0, peak[0] - before) / len(trace)
    return Row(
        name="replay_memory",
        what="peak memory of the curve beyond the trace, a request",
        against="an absolute goal",
        value=Interval(each, each, each),
        unit="bytes",
        goal=Goal(AT_MOST, 40),
        counted=True,
        ours=each,
        absolute_unit="bytes",
    )


@contextlib.contextmanager
def _peak() -> Iterator[list[int]]:
    """Watch this process's memory meanwhile; the list's only item is the most it was."""
    process, done = psutil.Process(), threading.Event()
    peak = [process.memory_info().rss]

    def watch() -> None:
        while not done.wait(_SAMPLE_S):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()

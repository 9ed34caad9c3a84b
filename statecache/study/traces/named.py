"""Traces that no file holds, by names that stand where a path may.

``flights`` are the flights of 2013, ``flights:2013-03-04`` a week of them from a day on, and
``flights:2013-03-04:14`` 14 days (:mod:`statecache.study.flights`). ``synthetic:cluster52`` draws a
million operations on 100,000 keys as the statistics of a cluster say, and
``synthetic:cluster52:5000000:20000`` five million on 20,000 (:mod:`.synthetic`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa

from statecache.study.errors import StudyError
from statecache.study.traces.rows import Rows, Tally
from statecache.study.traces.synthetic import TWITTER_CLUSTERS, Mix, draw_trace
from statecache.study.traces.trace import Trace, TraceError

__all__ = ["about_synthetic", "is_named", "read_flights", "read_synthetic"]

_SEED: Final = 2013
_WEEK: Final = 7.0
_OPERATIONS: Final = 1_000_000
_KEYS: Final = 100_000

N = TypeVar("N", int, float)


def is_named(path: Path, name: str) -> bool:
    """Return whether a path stands for such a trace, and no file is called like that."""
    return str(path).partition(":")[0] == name and not path.exists()


def read_flights(path: Path) -> Iterator[tuple[float, Rows]]:
    """Yield the operations: an event reads and writes its route, a look at the board reads it."""
    # the flights are made of traces, and so import this package
    from statecache.study.flights import flight_stream, to_trace  # noqa: PLC0415

    start, days, _ = _words(path)
    length = _number(path, days, float, _WEEK if start else 365.0)
    try:
        stream = flight_stream(start=start or "2013-01-01", days=length, seed=_SEED)
    except StudyError as error:
        raise TraceError(str(error)) from error
    trace = to_trace(stream)
    names = pa.array(trace.keys, pa.string()).take(pa.array(trace.key))
    yield 1.0, Rows(trace.time_s, names, trace.op, tally=Tally(len(stream)))


def read_synthetic(path: Path) -> Iterator[tuple[float, Rows]]:
    """Yield the operations that are drawn."""
    trace = _draw(path)
    yield 1.0, Rows(trace.time_s, trace.key, trace.op, trace.size, tally=Tally(len(trace)))


def about_synthetic(path: Path) -> tuple[str | None, bool]:
    """Return what the trace is drawn from, and that it is synthetic."""
    return draw_trace(_mix(path), operations=0, keys=1, seed=_SEED).source, True


def _draw(path: Path) -> Trace:
    _, operations, keys = _words(path)
    return draw_trace(
        _mix(path),
        operations=_number(path, operations, int, _OPERATIONS),
        keys=_number(path, keys, int, _KEYS),
        seed=_SEED,
    )


def _mix(path: Path) -> Mix:
    name, _, _ = _words(path)
    if name not in TWITTER_CLUSTERS:
        raise TraceError(
            f"{path} is no synthetic stream that is known: write synthetic: and one of "
            f"{', '.join(TWITTER_CLUSTERS)}."
        )
    return TWITTER_CLUSTERS[name]


def _words(path: Path) -> tuple[str, str, str]:
    """Return what follows the name, empty where there is nothing."""
    first, second, third = (*str(path).split(":")[1:], "", "", "")[:3]
    return first, second, third


def _number(path: Path, text: str, kind: Callable[[str], N], default: N) -> N:
    try:
        return kind(text) if text else default
    except ValueError:
        raise TraceError(
            f"{path} has {text!r} where a number is due: write flights:2013-03-04:7, or "
            "synthetic:cluster52:1000000:100000."
        ) from None

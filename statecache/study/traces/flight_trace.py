"""The flights of 2013 as a trace, which no file but a package holds.

``flights`` is the whole year; ``flights:2013-03-04`` a week from a day on, and
``flights:2013-03-04:14`` 14 days. See :mod:`statecache.study.flights`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from statecache.study.errors import StudyError
from statecache.study.traces.rows import Rows, Tally
from statecache.study.traces.trace import TraceError

__all__ = ["is_flights", "read_flights"]

_SEED: Final = 2013
_WEEK: Final = 7.0


def is_flights(path: Path) -> bool:
    """Return whether a path stands for the flights, and no file has its name."""
    return str(path).partition(":")[0] == "flights" and not path.exists()


def read_flights(path: Path) -> Iterator[tuple[float, Rows]]:
    """Yield the operations: an event reads and writes its route, a look at the board reads it."""
    # the flights are made of traces, and so import this package
    from statecache.study.flights import flight_stream, to_trace  # noqa: PLC0415

    _, start, days = (*str(path).split(":"), "", "")[:3]
    try:
        length = float(days or (_WEEK if start else 365.0))
        stream = flight_stream(start=start or "2013-01-01", days=length, seed=_SEED)
    except ValueError:
        raise TraceError(f"{path} has {days!r} days: write it as flights:2013-03-04:7.") from None
    except StudyError as error:
        raise TraceError(str(error)) from error
    trace = to_trace(stream)
    names = pa.array(trace.keys, pa.string()).take(pa.array(trace.key))
    yield 1.0, Rows(trace.time_s, names, trace.op, tally=Tally(len(stream)))

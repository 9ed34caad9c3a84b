"""Workloads: which state is asked for, what is done to it, how large it is, and when.

Everything is drawn beforehand from a seed: the same workload gives the same requests, to the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from statecache.study.errors import StudyError
from statecache.study.harness.documents import LARGEST_BYTES, document, least_size, trigger_ids
from statecache.study.traces import DELETE, READ, WRITE, Trace, read_trace

__all__ = [
    "Arrivals",
    "Plan",
    "Popularity",
    "Workload",
    "arrivals",
    "make_plan",
    "popular_ids",
    "recorded_arrivals",
    "recorded_read_share",
    "trace_plan",
]

#: How often each key is used: by a power of its rank, all alike, or a few keys most of the time.
Popularity = Literal["zipf", "uniform", "hot"]

#: When requests start: independently of each other, at equal distances, or at the distances of a
#: recorded stream, which are shortened to the rate that is asked for.
Arrivals = Literal["poisson", "constant", "recorded"]

#: Requests of a plan; callers begin at different places in it and go round.
STEPS: Final = 1 << 17

#: A trigger id may have so many bytes of UTF-8; see ``codec``.
_LONGEST_ID: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is asked of a manager; shares are between 0 and 1.

    Raises ``StudyError`` for a value out of range.
    """

    keys: int = 10_000
    popularity: Popularity = "zipf"
    #: Of the rank, where popularity is zipf.
    zipf_exponent: float = 1.2
    #: Where it is hot: this share of the keys gets that share of the requests.
    hot_keys: float = 0.01
    hot_share: float = 0.9
    #: Shares of the requests; what is neither read nor delete is an update.
    read_share: float = 0.8
    delete_share: float = 0.0
    #: Share of the keys, popular and rare ones alike, that have no state: they are only loaded.
    absent_share: float = 0.0
    #: Median of the documents' JSON in bytes, and the standard deviation of its natural logarithm:
    #: 0 where all have the same size.
    size_bytes: int = 190
    size_sigma: float = 0.0
    #: File or folder of a recorded stream: keys, operations and sizes of its first ``STEPS``
    #: operations are taken, in their order, and nothing is drawn.
    trace: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.absent_share <= 1 or (self.absent_share and self.read_share < 1):
            raise StudyError(
                f"the absent_share is {self.absent_share} at a read_share of {self.read_share}: "
                "take 0 to 1, and a read_share of 1 where it is not 0."
            )
        shares = self.hot_keys, self.hot_share, self.read_share, self.delete_share
        if not all(0 <= share <= 1 for share in shares) or self.read_share + self.delete_share > 1:
            raise StudyError(
                f"the shares of the workload are {shares}: take hot_keys, hot_share, read_share "
                "and delete_share between 0 and 1, the last two at most 1 together."
            )
        if self.popularity not in ("zipf", "uniform", "hot"):
            raise StudyError(f"the popularity is {self.popularity!r}: take zipf, uniform or hot.")
        if self.keys < 1 or not 0 <= self.zipf_exponent < 100 or self.size_sigma < 0:
            raise StudyError(
                f"the workload has {self.keys} keys, exponent {self.zipf_exponent} and size_sigma "
                f"{self.size_sigma}: take at least one key, an exponent from 0 to 100 and no "
                "negative deviation."
            )
        if not 0 <= self.size_bytes <= LARGEST_BYTES:
            raise StudyError(
                f"size_bytes is {self.size_bytes}: take 0 to {LARGEST_BYTES}, a state's limit."
            )

    @property
    def ids(self) -> list[str]:
        """The ids of all keys; of a recorded stream those that it names."""
        if not self.trace:
            return trigger_ids(self.keys)
        return list(dict.fromkeys(trace_plan(_recorded(self.trace)).ids))

    @property
    def loaded_ids(self) -> list[str]:
        """The keys that have a state beforehand; which ones are popular is drawn apart."""
        ids = self.ids
        return ids[: round(len(ids) * (1 - self.absent_share))]

    @property
    def may_be_absent(self) -> bool:
        """Whether states come and go, or are missing, so that a load may find none."""
        return bool(self.trace) or self.delete_share > 0 or self.absent_share > 0

    @property
    def states(self) -> tuple[int, float, int, bool, str]:
        """What workloads have in common that can share a table."""
        return self.keys, self.absent_share, self.size_bytes, self.may_be_absent, self.trace

    @property
    def initial_state(self) -> dict[str, Any]:
        """The state that every key has at first."""
        return document(0, self.size_bytes)

    def plan(self, seed: int) -> Plan:
        """Return the requests."""
        return make_plan(self, seed)


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests, one after the other: the key, the operation (a code of ``traces``), the size."""

    ids: list[str]
    operations: bytes
    #: Bytes of JSON that an update writes; ``None`` where all have the least size.
    sizes: list[int] | None = None
    #: When a recorded stream asked for them, in seconds; ``None`` where they are drawn.
    times_s: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.ids)


def make_plan(workload: Workload, seed: int, steps: int = STEPS) -> Plan:
    """Draw a plan; which ids are popular has nothing to do with their order.

    A recorded stream is its own plan. Raises ``StudyError`` where it cannot be read.
    """
    if workload.trace:
        return trace_plan(_recorded(workload.trace))
    draw = np.random.default_rng(seed)
    ids = workload.ids
    ranked = draw.permutation(workload.keys)
    weights = _weights(workload)
    places = ranked[draw.choice(workload.keys, size=steps, p=weights)]
    dice = draw.random(steps)
    deletes = dice >= 1 - workload.delete_share
    operations = np.where(deletes, DELETE, np.where(dice < workload.read_share, READ, WRITE))
    sizes = None
    if workload.size_sigma or workload.size_bytes > least_size():
        drawn = workload.size_bytes * np.exp(workload.size_sigma * draw.standard_normal(steps))
        sizes = np.minimum(drawn, LARGEST_BYTES).astype(int).tolist()
    return Plan(
        [ids[place] for place in places.tolist()], operations.astype(np.uint8).tobytes(), sizes
    )


def trace_plan(trace: Trace) -> Plan:
    """Return the first ``STEPS`` requests of a recorded stream; its sizes, where it has any."""
    names = trace.keys
    codes = trace.key[:STEPS].tolist()
    ids = [_as_id(str(code if names is None else names[code])) for code in codes]
    sizes = None if trace.size is None else np.minimum(trace.size[:STEPS], LARGEST_BYTES).tolist()
    return Plan(ids, trace.op[:STEPS].tobytes(), sizes, trace.time_s[:STEPS])


def recorded_read_share(path: str) -> float:
    """Return the share of reads among the requests of a recorded stream."""
    operations = np.frombuffer(trace_plan(_recorded(path)).operations, dtype=np.uint8)
    return float(np.mean(operations == READ))


def recorded_arrivals(
    plan: Plan, rate_per_s: float, seconds: float, offset: int
) -> NDArray[np.float64]:
    """Return when the plan's requests from ``offset`` on start, in seconds from 0.

    Their distances are those of the recorded stream, all of them shortened or stretched by one
    factor, so that the whole stream has the rate that is asked for: bursts stay bursts. Raises
    ``StudyError`` where the plan was not recorded, or all of it in one instant.
    """
    times = plan.times_s
    if times is None or times[-1] == times[0]:
        raise StudyError(
            "the requests have no recorded times: give a stream of more than one instant, or take "
            "poisson or constant arrivals."
        )
    # The stream begins again after one more gap of average length.
    span = float(times[-1] - times[0]) * len(times) / (len(times) - 1)
    from_here = np.concatenate([times[offset:], times[:offset] + span]) - times[offset]
    due = from_here * (len(times) / span / rate_per_s)
    return np.asarray(due[due < seconds], dtype=np.float64)


def arrivals(kind: Arrivals, rate_per_s: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Return when requests start, in seconds from 0 up to ``seconds``, in order.

    For recorded ones see ``recorded_arrivals``. Raises ``StudyError`` where there is none.
    """
    if kind == "constant":
        due = np.arange(0.0, seconds, 1 / rate_per_s)
    else:
        expected = rate_per_s * seconds
        # Ten deviations more than are expected: the chance that it falls short is below 1e-20.
        gaps = np.random.default_rng(seed).exponential(
            1 / rate_per_s, size=int(expected + 10 * expected**0.5 + 20)
        )
        due = np.cumsum(gaps)
        due = due[due < seconds]
    if not len(due):
        raise StudyError(
            f"no request starts within {seconds:g} s at {rate_per_s:g} a second: take more of "
            "either."
        )
    return due


def popular_ids(plan: Plan, count: int) -> list[str]:
    """Return ids of the plan from the most popular to rare ones, ``count`` in all."""
    names, uses = np.unique(np.array(plan.ids), return_counts=True)
    ranked: Sequence[str] = names[np.argsort(-uses, kind="stable")].tolist()
    return [str(name) for name in ranked[:: max(1, len(ranked) // count)][:count]]


@cache
def _recorded(path: str) -> Trace:
    return read_trace(path)


def _as_id(name: str) -> str:
    """Return a recorded name, or what stands for it where no trigger may be called that."""
    encoded = name.encode("utf-8", "surrogatepass")
    if 0 < len(encoded) <= _LONGEST_ID and "\0" not in name and name.isprintable():
        return name
    return f"recorded-{blake2b(encoded, digest_size=12).hexdigest()}"


def _weights(workload: Workload) -> NDArray[np.float64]:
    """Return how likely the key of each rank is."""
    ranks = np.arange(1, workload.keys + 1)
    if workload.popularity == "zipf":
        weights = 1.0 / ranks**workload.zipf_exponent
    elif workload.popularity == "hot":
        few = max(1, round(workload.hot_keys * workload.keys))
        rare = max(1, workload.keys - few)
        weights = np.where(ranks <= few, workload.hot_share / few, (1 - workload.hot_share) / rare)
    else:
        weights = np.ones(workload.keys)
    return np.asarray(weights / weights.sum(), dtype=np.float64)

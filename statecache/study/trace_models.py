"""What the closed forms say of a trace, beside the exact curve: an explanation, never the answer.

Each key has rates of its own, its operations over the duration of the trace; hit rates are weighted
by reads. Nothing here knows that a trace has a beginning: no form can tell that the first read of a
key misses, so that each may be above ``ceiling``, the hit rate of a TTL without end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study import jit, models
from statecache.study.replay import hit_curve
from statecache.study.replay.grouping import dense_keys
from statecache.study.replay.settings import Behaviour, Expiry, Writes, checked_ttls
from statecache.study.traces import READ, WRITE, Trace

__all__ = ["compare_models", "poisson", "renewal", "verdict_on_models"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Off by more than this, as a share of reads, a model is said to mislead.
MISLEADING: Final = 0.02

_FORMS: Final[dict[tuple[Expiry, Writes], Callable[[Any, Any, Any], Floats]]] = {
    ("fixed", "through"): models.write_through,
    ("fixed", "invalidate"): models.delete_on_write,
    ("fixed", "ignore"): lambda reads, _writes, ttl: models.cache_aside(reads, ttl),
    ("sliding", "through"): models.sliding_write_through,
    ("sliding", "invalidate"): models.sliding_delete_on_write,
    ("sliding", "ignore"): lambda reads, _writes, ttl: models.sliding(reads, ttl),
}


def poisson(
    trace: Trace, ttls: Iterable[float], *, expiry: Expiry = "fixed", writes: Writes = "through"
) -> Floats:
    """Return the hit rate per TTL if each key's reads and writes came at random, by closed form.

    A read directly before a write of its key, at the same instant, is taken for the load of an
    engine's event (:func:`statecache.study.models.read_modify_write`). Deletes are left out. NaN
    without reads, and where the trace takes no time.
    """
    behaviour = Behaviour(expiry, writes)
    seconds = checked_ttls(ttls)
    if trace.duration_s == 0:
        return np.full(seconds.size, np.nan)
    reads, loads, written = (count / trace.duration_s for count in _counts(trace))
    # An event's load shortens no dead time beyond what its write does, if the write does anything.
    others = reads if behaviour.writes == "ignore" else reads - loads
    form = _FORMS[behaviour.expiry, behaviour.writes]
    total = reads.sum() or np.nan
    return np.array([np.vdot(reads, form(others, written, ttl)) / total for ttl in seconds])


def renewal(trace: Trace, ttls: Iterable[float]) -> Floats:
    """Return the hit rate per TTL if each key's reads were a renewal process: m(T) / (1 + m(T)).

    m(T) is how many further reads follow a read of the key within T, on average over all its reads
    in the trace. It holds for a fixed TTL that only misses arm (``writes="ignore"``), whatever the
    distribution of the gaps is, as long as they are independent of each other; bursts that come in
    series and rates that change with the hour break it. NaN without reads.

    Source: Jung, Berger, Balakrishnan, INFOCOM 2003.
    """
    seconds = checked_ttls(ttls)
    reads = trace.op == READ
    key, n_keys = dense_keys(trace.key[reads])
    order = np.argsort(key, kind="stable")
    stop = np.cumsum(np.bincount(key, minlength=n_keys))
    hits = _renewal_hits(trace.time_s[reads][order], stop, seconds)
    return hits / (np.count_nonzero(reads) or np.nan)


def compare_models(
    trace: Trace, ttls: Iterable[float], *, expiry: Expiry = "fixed", writes: Writes = "through"
) -> pd.DataFrame:
    """Return the exact hit rate per TTL beside what the models say.

    Columns, all float64: ttl_s; exact, by replay; ceiling, the share of reads that some TTL makes
    hit; poisson and poisson_error, the model minus the exact; renewal and renewal_error likewise,
    NaN unless expiry is fixed and no write of the trace touches the cache.
    """
    seconds = checked_ttls(ttls)
    curve = hit_curve(trace, seconds, expiry=expiry, writes=writes)
    reads = curve["reads"].where(curve["reads"] > 0)
    exact = curve["hit_rate"].to_numpy()
    at_random = poisson(trace, seconds, expiry=expiry, writes=writes)
    only_misses_arm = expiry == "fixed" and (writes == "ignore" or not np.any(trace.op == WRITE))
    renewed = renewal(trace, seconds) if only_misses_arm else np.full(seconds.size, np.nan)
    return pd.DataFrame(
        {
            "ttl_s": seconds,
            "exact": exact,
            "ceiling": 1 - (curve["misses_first"] + curve["misses_deleted"]) / reads,
            "poisson": at_random,
            "poisson_error": at_random - exact,
            "renewal": renewed,
            "renewal_error": renewed - exact,
        }
    )


def verdict_on_models(compared: pd.DataFrame) -> str:
    """Say in plain words how far :func:`compare_models` found the models off, and what follows."""
    if compared["poisson_error"].isna().all():
        return "There is no closed form to compare with: the trace has no reads, or takes no time."
    sentences = [_sentence("The closed form for arrivals at random", compared, "poisson")]
    if compared["renewal_error"].notna().any():
        sentences.append(_sentence("The renewal estimate", compared, "renewal"))
    if np.any(compared["poisson"] > compared["ceiling"] + MISLEADING):
        sentences.append(
            "For long TTLs the closed form promises more than any TTL can give, since it does not "
            "count the first read of a key."
        )
    return " ".join(sentences)


def _sentence(name: str, compared: pd.DataFrame, model: str) -> str:
    errors = compared[f"{model}_error"].to_numpy()
    worst = int(np.nanargmax(np.abs(errors)))
    points, ttl_s = 100 * errors[worst], compared["ttl_s"].to_numpy()[worst]
    off = f"{abs(points):.1f} percentage points too {'high' if points > 0 else 'low'}"
    if abs(points) <= 100 * MISLEADING:
        return f"{name} is at most {off}, at a TTL of {ttl_s:g} s: it explains this trace."
    return (
        f"{name} is {off} at a TTL of {ttl_s:g} s: it misleads here, because the arrivals "
        "are not as it assumes; choose by the replay."
    )


def _counts(trace: Trace) -> tuple[Ints, Ints, Ints]:
    """Return per key the reads, those of them that are loads of events, and the writes."""
    key, n_keys = dense_keys(trace.key)
    order = np.argsort(key, kind="stable")
    sorted_key, op, time_s = key[order], trace.op[order], trace.time_s[order]
    loads = (op[:-1] == READ) & (op[1:] == WRITE)
    loads &= (sorted_key[:-1] == sorted_key[1:]) & (time_s[:-1] == time_s[1:])
    return (
        np.bincount(key[trace.op == READ], minlength=n_keys),
        np.bincount(sorted_key[:-1][loads], minlength=n_keys),
        np.bincount(key[trace.op == WRITE], minlength=n_keys),
    )


@jit.kernel(jit.FLOATS, jit.INTS, jit.FLOATS)
def _renewal_hits(times: Floats, stop: Ints, ttls: Floats) -> Floats:
    """Return the expected hits per TTL; the reads of key k end at ``stop[k]``."""
    hits = np.zeros(ttls.size, np.float64)
    start = 0
    for k in range(stop.size):
        reads = stop[k] - start
        for t in range(ttls.size):
            followers = 0
            end = start
            for i in range(start, stop[k]):
                while end < stop[k] and times[end] - times[i] <= ttls[t]:
                    end += 1
                followers += end - 1 - i
            if followers > 0:
                hits[t] += reads * followers / (reads + followers)
        start = stop[k]
    return hits

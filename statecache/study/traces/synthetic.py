"""Streams that nobody recorded, drawn from an operation mix, a rate and a popularity of keys.

Times are a Poisson process; operations and keys are drawn independently of each other and of the
past, keys by Zipf's law, and each key has one size, drawn from an exponential distribution. Real
streams are not like that: their keys come in bursts and out of fashion, they have days and nights,
and who reads a key is not who writes it. So a stream of this module shows what a method does, not
what a cache would be worth: it is labelled as synthetic wherever it goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from statecache.study.traces.trace import READ, Trace, TraceError

__all__ = ["TWITTER_CLUSTERS", "Mix", "draw_trace"]

_MOST: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Mix:
    """What a synthetic stream is drawn from.

    reads, writes, deletes  shares of the operations, of any sum
    zipf        the exponent: the key of rank k is asked for in proportion to k^-zipf; 0 is uniform
    rate_per_s  operations a second, of all keys together
    mean_bytes  mean size of a state
    source      where the figures are from, with its licence if it has one
    """

    reads: float
    writes: float
    deletes: float = 0.0
    zipf: float = 1.0
    rate_per_s: float = 1_000.0
    mean_bytes: float = 1_000.0
    source: str = "figures of one's own"

    def __post_init__(self) -> None:
        shares = (self.reads, self.writes, self.deletes)
        if not (all(0 <= share < np.inf for share in shares) and sum(shares) > 0):
            raise TraceError(f"The shares {shares} are no mix: give some of 0 or more, not all 0.")
        if not (0 <= self.zipf < np.inf and 0 < self.rate_per_s < np.inf and self.mean_bytes >= 0):
            raise TraceError(
                f"zipf is {self.zipf}, rate_per_s {self.rate_per_s}, mean_bytes {self.mean_bytes}: "
                "give an exponent and bytes of 0 or more, and a rate above 0."
            )


def draw_trace(mix: Mix, *, operations: int, keys: int, seed: int) -> Trace:
    """Draw a synthetic trace; the same arguments give the same one to the bit.

    Keys are their ranks: 0 is asked for most. Raises TraceError for a number of operations or keys
    that is out of range.
    """
    if not (0 <= operations <= _MOST and 1 <= keys <= _MOST):
        raise TraceError(
            f"{operations} operations on {keys} keys cannot be drawn: give 0 or more operations "
            f"and 1 key or more, at most {_MOST:,} of either."
        )
    random = np.random.default_rng(seed)
    weights = np.arange(1, keys + 1, dtype=np.float64) ** -mix.zipf
    steps = np.cumsum(weights)
    # side="right": a draw of exactly 0 is the first key's
    key = np.searchsorted(steps, random.uniform(0.0, steps[-1], operations), side="right")
    shares = np.array([mix.reads, mix.writes, mix.deletes])
    op = random.choice(np.arange(READ, 3, dtype=np.uint8), operations, p=shares / shares.sum())
    sizes = np.rint(random.exponential(mix.mean_bytes, keys)).astype(np.int64)
    key = np.minimum(key, keys - 1).astype(np.int32)
    return Trace(
        time_s=np.cumsum(random.exponential(1.0 / mix.rate_per_s, operations)),
        key=key,
        op=op,
        size=sizes[key],
        source=f"synthetic, drawn from {mix.source}",
        synthetic=True,
    )


def _twitter(cluster: int, **figures: float) -> Mix:
    source = (
        f"the statistics of Twitter's cluster{cluster} in March 2020 (Yang, Yue, Rashmi: a large "
        "scale analysis of hundreds of in-memory cache clusters at Twitter, OSDI 2020; "
        "github.com/twitter/cache-trace, CC BY 4.0)"
    )
    return Mix(**figures, source=source)


#: Some of the 54 clusters: their mix of operations, exponent of popularity, rate and mean value.
#: Reads are get and gets; add, cas and incr are writes. The shares are published to two digits.
TWITTER_CLUSTERS: Final = {
    "cluster8": _twitter(
        8, reads=0.50, writes=0.50, zipf=1.7366, rate_per_s=2_110.0, mean_bytes=9_497.0
    ),
    "cluster14": _twitter(
        14, reads=0.65, writes=0.13, deletes=0.22, zipf=1.2959, rate_per_s=5_810.0, mean_bytes=414.0
    ),
    "cluster19": _twitter(
        19, reads=0.75, writes=0.25, zipf=0.735, rate_per_s=3_310.0, mean_bytes=101.0
    ),
    "cluster23": _twitter(
        23, reads=0.36, writes=0.61, deletes=0.02, zipf=0.274, rate_per_s=8_690.0, mean_bytes=224.0
    ),
    "cluster50": _twitter(
        50, reads=0.52, writes=0.48, zipf=1.2816, rate_per_s=240.0, mean_bytes=67_485.0
    ),
    "cluster52": _twitter(
        52, reads=0.93, writes=0.06, zipf=1.2117, rate_per_s=24_250.0, mean_bytes=273.0
    ),
}

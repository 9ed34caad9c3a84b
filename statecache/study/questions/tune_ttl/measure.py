"""The advice, and its proof: the TTL advised, its half and its double, live and by replay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from statecache.study.advisor.advice import Advice, advise
from statecache.study.advisor.curve import Policy, rounded
from statecache.study.advisor.limits import Limits, parse_bytes, parse_share, parse_staleness
from statecache.study.harness.aside import run_aside
from statecache.study.histograms import histogram
from statecache.study.progress import report_progress
from statecache.study.questions.ttl_sweep.cells import executed_trace
from statecache.study.questions.tune_ttl.live import Lived, access_frame, run_live
from statecache.study.questions.tune_ttl.slices import Slice, cut
from statecache.study.replay import hit_curve
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers
from statecache.study.traces import Trace, read_trace

__all__ = ["NOTEBOOK", "Tuning", "TuningSettings", "measure"]

NOTEBOOK: Final = "tune_ttl"

#: Live and replay of the executed times may differ by this share of the reads.
EXECUTED_LIMIT: Final = 0.005
#: Those of the planned times by this one, where the machine is quiet.
PLANNED_LIMIT: Final = 0.01
#: PostgreSQL's statements may differ by this share.
STATEMENTS_LIMIT: Final = 0.02
#: A cell is quiet if the 99th percentile of what is waited for stays below this share of its TTL.
QUIET_SHARE: Final = 0.02
#: A cell is void if loads took longer than this share of its TTL (99th percentile): nobody knows
#: then when a state was looked up.
VOID_SHARE: Final = 0.5
#: A run that disagrees with its replay is repeated, until there are so many.
ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSettings:
    """What to advise on, and how long to run it live; empty limits and 0 promise nothing."""

    #: File or folder of a recorded stream, or ``flights``.
    trace: str
    max_db_qps: float
    min_hit_rate: str
    max_staleness: str
    bypass_share: str
    max_memory: str
    #: Bytes of a state where the trace has none.
    state_bytes: float
    #: Seconds of the live run, and requests a second of each manager at most.
    live_s: float
    rate_per_s: float
    #: What the cache may cost a call, in ms; generous, so that a busy machine adds no miss.
    timeout_ms: int

    @property
    def limits(self) -> Limits:
        """The limits. Raises LimitError."""
        given: dict[str, float] = {}
        if self.max_db_qps:
            given["max_db_qps"] = self.max_db_qps
        if self.min_hit_rate:
            given["min_hit_rate"] = parse_share(self.min_hit_rate, "min_hit_rate")
        if self.max_staleness:
            given |= parse_staleness(self.max_staleness)
        if self.max_memory:
            given["max_memory_bytes"] = parse_bytes(self.max_memory, "max_memory")
        return Limits(**given)

    @property
    def policy(self) -> Policy:
        """How the cache is run: as the manager runs it."""
        share = parse_share(self.bypass_share, "bypass_share") if self.bypass_share else 0.0
        return Policy(bypass_share=share, state_bytes=self.state_bytes or None)

    @property
    def fingerprint(self) -> str:
        """A short hash of all that a cell depends on, so that no run takes another one's cells."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Tuning:
    """The advice and its proof.

    ``cells``, a row a TTL: variant, ttl_s, live_ttl_ms, reads, writes, hits, hit_rate, served_rate
    (hits and loads that shared another's database read), hit_rate_executed, hit_rate_planned,
    statements, statements_executed, statements_planned, counted_by, coalesced, load_p99_us,
    commit_p99_us, late_p99_us, quiet, void, attempt. ``histograms``: variant, operation, low_us,
    high_us, count.
    """

    settings: TuningSettings
    trace: Trace
    advice: Advice
    part: Slice
    cells: pd.DataFrame
    histograms: pd.DataFrame


def measure(settings: TuningSettings, servers: Servers, folder: RunFolder) -> Tuning:
    """Advise, and run the advised TTL, its half and its double live.

    A run that disagrees with the replay of what was done is repeated, twice at most; kept is the
    one whose loads were quickest.
    """
    with report_progress() as report:
        report(0.0, "reading")
        trace = read_trace(settings.trace)
        advice = advise(
            trace,
            settings.limits,
            settings.policy,
            lambda share, what: report(0.3 * share, what),
        )
        part = cut(trace, advice.ttl_s, live_s=settings.live_s, rate_per_s=settings.rate_per_s)
        ttls = rounded(advice.ttl_s * np.array([0.5, 1.0, 2.0]))
        runs: list[tuple[pd.DataFrame, pd.DataFrame]] = []
        while len(runs) < ATTEMPTS and not (runs and agrees(runs[-1][0])):
            report(0.3 + 0.2 * len(runs), f"live, {settings.live_s:g} s")
            number = len(runs) + 1
            runs.append(_attempt(settings, servers, folder, part, ttls=ttls, number=number))
        cells, buckets = runs[-1]
        if not agrees(cells):
            cells, buckets = min(runs, key=lambda run: run[0]["load_p99_us"].max())
        report(1.0, "measured")
    return Tuning(settings, trace, advice, part, cells, buckets)


def _attempt(
    settings: TuningSettings,
    servers: Servers,
    folder: RunFolder,
    part: Slice,
    *,
    ttls: np.ndarray,
    number: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run live, or take what an interrupted run has left in the folder."""
    name = f"{settings.fingerprint}-{number}"
    cells, buckets = folder.read_cell(NOTEBOOK, name), folder.read_cell(NOTEBOOK, f"{name}.latency")
    if cells is not None and buckets is not None:
        return cells, buckets
    variants = {f"ttl_{ttl:g}s".replace(".", "_"): float(ttl) for ttl in ttls}
    ttls_ms = {variant: part.live_ttl_ms(ttl) for variant, ttl in variants.items()}
    lived = run_aside(lambda: run_live(part, ttls_ms, servers, timeout_ms=settings.timeout_ms))
    cells, buckets = cells_of(lived, part, variants)
    cells["attempt"] = number
    folder.write_cell(NOTEBOOK, f"{name}.latency", buckets)
    folder.write_cell(NOTEBOOK, name, cells)
    return cells, buckets


def cells_of(
    lived: Mapping[str, Lived], part: Slice, ttls_s: Mapping[str, float]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the cells of a run and its histograms; see ``Tuning``."""
    rows, buckets = [], []
    for variant, one in lived.items():
        accesses = access_frame(one.accesses)
        live_s = part.live_ttl_ms(ttls_s[variant]) / 1000
        (executed,) = hit_curve(executed_trace(accesses), [live_s]).to_dict("records")
        # The TTL that was run: milliseconds are whole.
        (planned,) = hit_curve(part.trace, [live_s * part.time_scale]).to_dict("records")
        stats, reads = one.stats, max(1, one.stats.hits + one.stats.misses)
        statements = stats.db_reads + stats.db_writes
        took = (accesses["ended_s"] - accesses["started_s"]).to_numpy()
        is_load = (accesses["operation"] == "load").to_numpy()
        waits = {"load": took[is_load], "commit": took[~is_load]}
        p99 = {name: _p99_us(seconds) for name, seconds in waits.items()}
        late = _p99_us(np.array(one.recording.late or [0.0]))
        slowest = np.nanmax([*p99.values(), late])
        rows.append(
            {
                "variant": variant,
                "ttl_s": ttls_s[variant],
                "live_ttl_ms": 1000 * live_s,
                "reads": reads,
                "writes": stats.db_writes,
                "hits": stats.hits,
                "hit_rate": stats.hits / reads,
                "served_rate": (stats.hits + stats.coalesced) / reads,
                "hit_rate_executed": executed["hit_rate"],
                "hit_rate_planned": planned["hit_rate"],
                "statements": statements,
                # A load that shared another's database read is a miss in the replay.
                "statements_executed": executed["db_statements"] - stats.coalesced,
                "statements_planned": planned["db_statements"],
                "counted_by": "the managers" if one.statements is None else "PostgreSQL",
                "coalesced": stats.coalesced,
                "load_p99_us": p99["load"],
                "commit_p99_us": p99["commit"],
                "late_p99_us": late,
                "quiet": bool(slowest <= QUIET_SHARE * live_s * 1e6),
                "void": bool(p99["load"] > VOID_SHARE * live_s * 1e6),
            }
        )
        for operation, seconds in waits.items():
            if len(seconds):
                frame: Any = histogram(seconds)
                frame.insert(0, "operation", operation)
                frame.insert(0, "variant", variant)
                buckets.append(frame)
    return pd.DataFrame(rows), pd.concat(buckets, ignore_index=True)


def agrees(cells: pd.DataFrame) -> bool:
    """Return whether every cell could be judged, and agrees with the replay of what was done."""
    off = (cells["hit_rate"] - cells["hit_rate_executed"]).abs() > EXECUTED_LIMIT
    more = (cells["statements"] / cells["statements_executed"] - 1).abs() > STATEMENTS_LIMIT
    return not bool((off | more | cells["void"].astype(bool)).any())


def _p99_us(seconds: np.ndarray) -> float:
    return float(np.percentile(seconds, 99) * 1e6) if len(seconds) else float("nan")

"""What the TTL sweep says: answer, what the claims are judged by, limits; all computed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from statecache.study.bounds import saved as most_saved
from statecache.study.intervals import Interval
from statecache.study.questions.evidence import Evidence
from statecache.study.questions.ttl_sweep.findings import (
    DOCUMENTED_TTL_MIN,
    HIGH_TRAFFIC_TTL_MIN,
    Findings,
    assert_agreement,
    ttl_name,
)
from statecache.study.questions.wording import days_of
from statecache.study.verdicts import Measured

__all__ = ["NOTEBOOK", "answer", "limits", "measured"]

NOTEBOOK: Final = "ttl_sweep"


def answer(findings: Findings) -> list[str]:
    """Return the sentences that the run's index opens with."""
    return [findings.decision.sentence, _band_sentence(findings), assert_agreement(findings.sweep)]


def measured(findings: Findings) -> list[Measured]:
    """Return what was measured for the claims that are judged here."""
    settings = findings.sweep.settings
    evidence = Evidence(NOTEBOOK, "loopback", len(settings.starts))
    passes = f"{len(settings.starts)} passes of {days_of(settings.days)} of flights"
    share = f"{100 * findings.read_share:.1f} %"

    def one(claim: str, interval: Interval, ttl_min: float, **more: Any) -> Measured:
        return evidence.of(
            claim, interval, f"TTL {ttl_name(ttl_min)}, {passes}", counted=True, **more
        )

    return [
        one("hit_rate", findings.documented, DOCUMENTED_TTL_MIN, why=_band_sentence(findings)),
        one("hit_rate_high_traffic", findings.high_traffic, HIGH_TRAFFIC_TTL_MIN),
        one(
            "database_queries",
            findings.most_saved,
            findings.best_ttl_min,
            bound=most_saved(findings.read_share, 1.0),
            why=f"{share} of this stream's statements are reads, so no cache can save more; TTL "
            f"{ttl_name(findings.best_ttl_min)} saved the most.",
        ),
    ]


def limits(findings: Findings) -> list[str]:
    """Return the sentences on where the findings do not hold."""
    settings = findings.sweep.settings
    said = [
        (
            f"Event time ran {settings.time_scale:,.0f} times faster than the clock, and the TTLs "
            "with it: hit rates carry over, latencies belong to this load on this machine."
        ),
        "Servers and client share one machine over loopback; no network is in these latencies.",
        (
            "In virtual time a fetch takes no time; live it took "
            f"{findings.by_ttl['miss_p50_us'].median() / 1e3:.1f} ms at the median, "
            f"{findings.by_ttl['miss_p50_us'].median() / 1e6 * settings.time_scale:.0f} s of event "
            "time, in which further reads of the route share it. They are misses live and hits in "
            "the replay of the planned times, and are counted as hits where the two are compared."
        ),
        "Flights follow a timetable and rest at night: another stream needs its own sweep.",
    ]
    noisy = findings.cached_cells[~findings.cached_cells["quiet"].astype(bool)]
    if len(noisy):
        names = ", ".join(ttl_name(ttl) for ttl in sorted(set(noisy["ttl_min"])))
        said.append(
            f"Commits were slow beside the TTL in {len(noisy)} of {len(findings.cached_cells)} "
            f"cells ({names}): there only the replay of the executed times is a check."
        )
    if findings.counted_by != "PostgreSQL":
        said.append(
            "This PostgreSQL keeps no count of statements (pg_stat_statements): their numbers are "
            "the managers' own and have not been checked."
        )
    if findings.sweep.repeated:
        again = ", ".join(findings.sweep.repeated)
        said.append(
            f"The machine was too noisy in the passes from {again}: they were measured a second "
            "time, and of two attempts that agree with their replay the one with the quicker "
            "commits is shown."
        )
    return said


def _band_sentence(findings: Findings) -> str:
    low, high = _ttl_where(findings.curve, 0.70), _ttl_where(findings.curve, 0.90)
    at_documented = f"{100 * findings.documented.mean:.0f} %"
    if low is None:
        return f"No TTL up to 48 h reaches 70 % on this stream; 300 s reaches {at_documented}."
    until = "more" if high is None else ttl_name(round(high))
    return (
        f"On this stream 70–90 % takes a TTL of {ttl_name(round(low))} to {until}; the documented "
        f"300 s gives {at_documented} (exact replay)."
    )


def _ttl_where(curve: pd.DataFrame, level: float) -> float | None:
    """Return the TTL in minutes at which the exact curve reaches the level."""
    if curve["exact"].max() < level:
        return None
    return float(
        np.exp(np.interp(level, curve["exact"].to_numpy(), np.log(curve["ttl_min"].to_numpy())))
    )

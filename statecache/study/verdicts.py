"""Verdicts on documented claims: one word each, from an interval, a band and a bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from statecache.study.errors import StudyError
from statecache.study.intervals import Interval

__all__ = ["Claim", "Word", "judge", "load_claims", "verdict_row"]

Word = Literal["holds", "holds in part", "does not hold", "cannot hold", "not decided"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A documented claim: its text, where it stands, what is measured and the promised band."""

    id: str
    text: str
    where: str
    statistic: str
    band: tuple[float, float]
    notebook: str


def load_claims(root: Path) -> dict[str, Claim]:
    """Return id → claim of ``experiments/claims.yaml``."""
    path = root / "experiments" / "claims.yaml"
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["claims"]
        claims = [Claim(**entry | {"band": tuple(entry["band"])}) for entry in entries]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise StudyError(f"{path.name} is not a list of claims ({error}).") from error
    return {claim.id: claim for claim in claims}


def judge(interval: Interval, band: tuple[float, float], bound: float | None = None) -> Word:
    """Return the verdict on "the value lies in the band".

    It *cannot hold* where the bound keeps every value below the band, *holds* only where the
    whole interval lies in the band, *does not hold* where the whole interval lies below it, and is
    *not decided* where the interval crosses a limit or there is none. More than was promised
    holds, too.
    """
    low, _high = band
    if bound is not None and bound < low:
        return "cannot hold"
    if interval.low >= low:
        return "holds"
    if interval.high < low:
        return "does not hold"
    return "not decided"


def verdict_row(
    claim: Claim,
    interval: Interval,
    *,
    bound: float | None,
    bound_text: str | None,
    why: str,
    profile: str = "loopback",
) -> dict[str, Any]:
    """Return the claim's row of ``verdicts.json``; values are shares, shown in per cent."""
    return {
        "id": claim.id,
        "claim": claim.text,
        "statistic": claim.statistic,
        "measured": f"{interval.mean:.1%}".replace("%", " %"),
        "interval": (
            "none, one pass"
            if math.isnan(interval.low)
            else f"{100 * interval.low:.1f}–{100 * interval.high:.1f} %"
        ),
        "bound": bound_text,
        "profile": profile,
        "verdict": judge(interval, claim.band, bound),
        "why": f"{claim.statistic[0].upper()}{claim.statistic[1:]}. {why}",
        "notebook": claim.notebook,
    }

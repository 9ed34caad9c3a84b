"""Verdicts on documented claims: one word each, from intervals, a band and a bound.

*holds*: the whole interval keeps the promise, under every condition that was measured.
*holds in part*: it does so under some of the measured conditions, and not under others.
*does not hold*: the whole interval breaks the promise. *cannot hold*: the analytic bound excludes
the band, whatever is measured. *not decided*: an interval crosses an end of the band, there is
none, it rests on too few pairs, or it contradicts its own bound. *assumed*: the deployment profile
sets the figure itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from statecache.study.bounds import BOUNDS
from statecache.study.claims import Band, Claim
from statecache.study.errors import StudyError
from statecache.study.intervals import MIN_PAIRS, Interval
from statecache.study.quantities import show_interval, show_value

__all__ = ["LEVEL", "Measured", "Word", "judge", "judge_all", "over_conditions"]

Word = Literal["holds", "holds in part", "does not hold", "cannot hold", "not decided", "assumed"]

#: Level of the intervals behind verdicts: there are some thirty of them.
LEVEL: Final = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured for a claim under one set of conditions; ``interval`` is at ``LEVEL``.

    A claim may be measured under several conditions; the first is the one that its row shows.
    """

    claim: str
    interval: Interval
    #: Number of pairs or repetitions behind the interval.
    pairs: int
    profile: str
    #: The conditions in words, as ``32 callers, zipf 1.0, TTL 300 s``.
    conditions: str
    notebook: str
    #: The command that measures it again.
    command: str = ""
    #: Value of the claim's analytic bound under these conditions, where it applies.
    bound: float | None = None
    #: Whether the values were counted exactly (hits, statements, failures), not timed.
    counted: bool = False
    #: What else explains the verdict, in full sentences.
    why: str = ""

    def __post_init__(self) -> None:
        if not self.conditions.strip():
            raise ValueError(f"what was measured for {self.claim} needs its conditions in words.")


def judge(interval: Interval, band: Band, bound: float | None = None) -> Word:
    """Return the verdict on "the value keeps the band's promise" under one set of conditions.

    ``bound`` is the best value that can be had: the largest, or for "at most" the smallest. A
    measurement wholly beyond it says that the bound does not apply, and decides nothing.
    """
    low, high = band.kept_from, band.kept_to
    if _is_beyond(interval, band, bound):
        return "not decided"
    if bound is not None and (bound > high if band.promise == "at most" else bound < low):
        return "cannot hold"
    if low <= interval.low and interval.high <= high:
        return "holds"
    if interval.high < low or interval.low > high:
        return "does not hold"
    return "not decided"


def over_conditions(words: Sequence[Word]) -> Word:
    """Return the one verdict for several conditions: what no undecided one could change."""
    found = set(words)
    if len(found) == 1:
        return words[0]
    broken = {"does not hold", "cannot hold"}
    if "holds in part" in found or ("holds" in found and found & broken):
        return "holds in part"
    return "does not hold" if found and found <= broken else "not decided"


def judge_all(claims: Mapping[str, Claim], measured: Iterable[Measured]) -> list[dict[str, Any]]:
    """Return the rows of ``verdicts.json``: every claim, once for each profile it was measured in.

    A claim that was not measured is *not decided*, too, so that none is dropped. Raises
    ``StudyError`` for a measurement that its claim does not ask for.
    """
    groups: dict[tuple[str, str], list[Measured]] = {}
    for one in measured:
        _check(claims, one)
        groups.setdefault((one.claim, one.profile), []).append(one)
    rows = []
    for claim in claims.values():
        profiles = [profile for profile in claim.profiles if (claim.id, profile) in groups]
        rows += [_row(claim, groups[claim.id, profile]) for profile in profiles]
        if not profiles:
            rows.append(_unmeasured(claim))
    return rows


def _row(claim: Claim, group: Sequence[Measured]) -> dict[str, Any]:
    words = [_word(claim, one) for one in group]
    word, shown = over_conditions(words), group[0]
    value = shown.interval
    return {
        **_common(claim),
        "measured": show_value(value.mean, claim.kind, claim.unit),
        "interval": show_interval(value, claim.kind, claim.unit),
        "bound": _bound_text(claim, shown.bound),
        "profile": shown.profile,
        "verdict": word,
        "why": _why(claim, group, words),
        "command": shown.command,
        "notebook": shown.notebook,
        "numbers": {
            **dict(zip(("value", "low", "high"), value.plain(), strict=True)),
            "bound": shown.bound,
        },
    }


def _unmeasured(claim: Claim) -> dict[str, Any]:
    return {
        **_common(claim),
        "measured": "",
        "interval": "",
        "bound": None,
        "profile": ", ".join(claim.profiles),
        "verdict": "not decided",
        "why": f"{_sentence(claim.statistic)} Not measured in this run.",
        "command": "",
        "notebook": claim.notebooks[0],
        "numbers": dict.fromkeys(("value", "low", "high", "bound")),
    }


def _common(claim: Claim) -> dict[str, Any]:
    band = claim.band
    return {
        "id": claim.id,
        "claim": claim.text,
        "statistic": claim.statistic,
        "kind": claim.kind,
        "unit": claim.unit,
        "band": claim.band_text,
        "band_low": band.low if math.isfinite(band.low) else None,
        "band_high": band.high if math.isfinite(band.high) else None,
        "promise": band.promise,
        "changes_if": claim.changes_if,
    }


def _word(claim: Claim, one: Measured) -> Word:
    if one.profile in claim.fixed_by:
        return "assumed"
    word = judge(one.interval, claim.band, one.bound)
    # A bound is not a matter of repetitions.
    too_few = one.pairs < MIN_PAIRS and not one.counted
    return "not decided" if too_few and word != "cannot hold" else word


def _why(claim: Claim, group: Sequence[Measured], words: Sequence[Word]) -> str:
    parts = [_sentence(f"{claim.statistic} ({group[0].conditions})")]
    if group[0].profile in claim.fixed_by:
        parts.append(f"The profile {group[0].profile} sets this figure itself.")
    if len(group) > 1:
        listed = (
            f"{word} at {show_value(one.interval.mean, claim.kind, claim.unit)} ({one.conditions})"
            for one, word in zip(group, words, strict=True)
        )
        parts.append(_sentence("; ".join(listed)))
    for one in group:
        if _is_beyond(one.interval, claim.band, one.bound):
            parts.append(
                f"What was measured ({one.conditions}) lies beyond its own bound, so the bound "
                "does not apply or the measurement is wrong."
            )
        elif one.pairs < MIN_PAIRS and not one.counted and one.profile not in claim.fixed_by:
            pairs = f"{one.pairs} pair{'' if one.pairs == 1 else 's'}"
            parts.append(f"It rests on {pairs}; {MIN_PAIRS} are needed.")
    return " ".join([*parts, *(one.why for one in group if one.why)])


def _bound_text(claim: Claim, bound: float | None) -> str | None:
    if bound is None or claim.bound is None:
        return None
    return f"{show_value(bound, claim.kind, claim.unit)}: {BOUNDS[claim.bound]}"


def _is_beyond(interval: Interval, band: Band, bound: float | None) -> bool:
    if bound is None:
        return False
    slack = 1e-9 * abs(bound)
    if band.promise == "at most":
        return interval.high < bound - slack
    return interval.low > bound + slack


def _check(claims: Mapping[str, Claim], one: Measured) -> None:
    claim = claims.get(one.claim)
    if claim is None:
        raise StudyError(f"no claim is called {one.claim!r}: see experiments/claims.yaml.")
    if one.profile not in claim.profiles:
        raise StudyError(
            f"the claim {claim.id} is not judged in the profile {one.profile!r}: "
            f"claims.yaml names {', '.join(claim.profiles)}."
        )
    if not claim.is_judged_by(one.notebook):
        raise StudyError(
            f"the claim {claim.id} is not judged by the notebook {one.notebook!r}: "
            f"claims.yaml names {', '.join(claim.notebooks)}."
        )
    if one.bound is not None and claim.bound is None:
        raise StudyError(f"the claim {claim.id} has no bound in claims.yaml: give none.")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."

"""Where the documented figures contradict each other; every sentence is computed from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from statecache.study.bounds import gain_where_reads_are_saved, reads_in_cost, saved
from statecache.study.claims import Claim
from statecache.study.errors import StudyError
from statecache.study.quantities import show_range, show_value

__all__ = ["RULES", "contradictions"]

#: Figures this close say the same; documented ones are rounded.
ROUNDING = 0.05

Rule = Callable[[Claim, Sequence[Claim], float], str | None]


def contradictions(claims: Mapping[str, Claim]) -> dict[str, list[str]]:
    """Return id → sentences for the claims that others contradict, as ``contradicts`` lists them.

    Raises ``StudyError`` where the figures agree after all: then ``claims.yaml`` is wrong.
    """
    found: dict[str, list[str]] = {}
    for claim in claims.values():
        for entry in claim.contradicts:
            rule = RULES.get(entry["rule"])
            if rule is None:
                raise StudyError(
                    f"claims.yaml: claim {claim.id} names the rule {entry['rule']!r}: "
                    f"choose from {', '.join(RULES)}."
                )
            others = [claims[name] for name in entry["with"]]
            sentence = rule(claim, others, float(entry.get("read_share", math.nan)))
            if sentence is None:
                raise StudyError(
                    f"claims.yaml: claim {claim.id} does not contradict "
                    f"{', '.join(entry['with'])} by the rule {entry['rule']!r}: leave it out."
                )
            found.setdefault(claim.id, []).append(sentence)
    return found


def _quotient(claim: Claim, others: Sequence[Claim], _read_share: float) -> str | None:
    """Compare a ratio with the quotient of two documented figures: without, and with the cache."""
    without, cached = others
    if without.kind == "duration":
        low, high = without.band.low / cached.band.high, without.band.high / cached.band.low
    else:
        low, high = cached.band.low / without.band.high, cached.band.high / without.band.low
    if _agree(low, claim.band.low) and _agree(high, claim.band.high):
        return None
    return (
        f"{without.band_text} over {cached.band_text} is {_times(low, high)}, "
        f"not {claim.band_text}."
    )


def _same_quantity(claim: Claim, others: Sequence[Claim], _read_share: float) -> str | None:
    """Compare two figures that are documented for the same thing."""
    (other,) = others
    if _agree(_figure(claim), _figure(other)):
        return None
    here, there = (show_value(_figure(one), one.kind, one.unit) for one in (claim, other))
    return f"{here} in “{claim.where}” is {there} in “{other.where}”."


def _sequential_mix(claim: Claim, others: Sequence[Claim], read_share: float) -> str | None:
    """Compare a gain with what is left of a sequential mix when every read is free."""
    operation, read = others
    per_operation = 1e6 / _figure(operation)
    write = (per_operation - read_share * _figure(read)) / (1 - read_share)
    bound = gain_where_reads_are_saved(reads_in_cost(read_share, _figure(read), write), 1.0)
    if bound >= claim.band.low:
        return None
    return (
        f"One after the other, {_us(per_operation)} an operation with reads of "
        f"{_us(_figure(read))} at {_per_cent(read_share)} reads means writes of {_us(write)}: "
        f"with free reads an operation still takes {_us((1 - read_share) * write)}, a gain of at "
        f"most {_x(bound)} and not {_x(claim.band.low)}."
    )


def _saved_by_hits(claim: Claim, others: Sequence[Claim], read_share: float) -> str | None:
    """Compare a share of statements saved with the hits' share of them."""
    (hits,) = others
    low, high = saved(read_share, hits.band.low), saved(read_share, hits.band.high)
    if low >= claim.band.low:
        return None
    return (
        f"At {_per_cent(read_share)} reads, {hits.band_text} hits save {_per_cent(low)} to "
        f"{_per_cent(high)} of the statements, not {claim.band_text}."
    )


def _engine(claim: Claim, others: Sequence[Claim], _read_share: float) -> str | None:
    """Compare a gain in capacity with its bound where a write costs the database as a read does."""
    (hits,) = others
    low, high = (
        gain_where_reads_are_saved(reads_in_cost(0.5, 1, 1), rate)
        for rate in (hits.band.low, hits.band.high)
    )
    if high >= claim.band.low:
        return None
    return (
        f"An event is one load and one update: where a write costs the database no less than a "
        f"read, {hits.band_text} hits gain at most {_times(low, high)}, not {claim.band_text}."
    )


#: Name of a rule in ``claims.yaml`` → what it compares.
RULES: Final[dict[str, Rule]] = {
    "quotient": _quotient,
    "same quantity": _same_quantity,
    "sequential mix": _sequential_mix,
    "saved by hits": _saved_by_hits,
    "engine": _engine,
}


def _figure(claim: Claim) -> float:
    """Return the one number that a claim quotes: the end of its band that it promises."""
    return claim.band.high if claim.band.promise == "at most" else claim.band.low


def _agree(one: float, other: float) -> bool:
    return one == other or math.isclose(one, other, rel_tol=ROUNDING)


def _times(low: float, high: float) -> str:
    return _x(low) if _agree(low, high) else show_range(low, high, "ratio", "x")


def _x(value: float) -> str:
    return show_value(value, "ratio", "x")


def _us(value: float) -> str:
    return show_value(value, "duration", "µs")


def _per_cent(value: float) -> str:
    return f"{100 * value:.0f} %"

"""The advice in words: for the command line, for the notebook, and for whoever pastes it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from statecache.study.advisor.advice import Advice
from statecache.study.advisor.choice import Exclusion, Shortfall
from statecache.study.advisor.limits import Limit
from statecache.study.advisor.units import duration, size
from statecache.study.quantities import show_number

__all__ = [
    "adaptive_sentence",
    "curve_table",
    "duration",
    "exclusion_sentences",
    "groups_sentence",
    "halves_sentence",
    "headline",
    "memory",
    "scope_sentence",
    "shortfall_sentences",
    "size",
    "wrong_sentence",
]

#: A trace says little about TTLs that are longer than a tenth of it.
_LONG_ENOUGH: Final = 10


def headline(advice: Advice) -> str:
    """Return the recommendation in one sentence."""
    row, peak = advice.choice.row, advice.peak_db_qps
    busiest = "" if math.isnan(peak) else f" ({show_number(peak)} in the busiest minute)"
    gives = (
        f"{_percent(row['hit_rate'])} of the reads hit, PostgreSQL gets "
        f"{show_number(row['db_qps'])} statements a second{busiest}, and the cache holds "
        f"{memory(row)}"
    )
    if not advice.feasible:
        return f"No TTL meets all limits; {duration(advice.ttl_s)} misses them by least: {gives}."
    known = not math.isnan(advice.peak_keys)
    most = f", {show_number(advice.peak_keys)} at most" if known else ""
    return f"Run a TTL of {_ttl(advice.ttl_s)}: {gives}{most}; {_why(advice)}."


def exclusion_sentences(advice: Advice) -> list[str]:
    """Return what each limit excludes."""
    return [_excluded(one, advice.choice.curve) for one in advice.choice.exclusions]


def shortfall_sentences(advice: Advice) -> list[str]:
    """Return by how much the limits cannot be met together; none where they can."""
    if advice.feasible:
        return []
    said = [_short(one, len(advice.limits.given)) for one in advice.choice.shortfalls]
    row = advice.choice.row
    missed = [
        f"{limit.what} {_value(limit, row[limit.column])} instead of {_bound(limit)}"
        for limit in advice.limits.given
        if not limit.excess(row[limit.column]) <= 0
    ]
    nearest = f"The TTL that misses them by least, {_ttl(advice.ttl_s)}, has {_listed(missed)}."
    return [*said, nearest]


def wrong_sentence(advice: Advice) -> str:
    """Return what it costs to be wrong by a factor of two."""
    half, one, twice = (advice.around.iloc[place] for place in range(3))
    said = [
        f"{name} of it ({duration(other['ttl_s'])}) has {_points(other, one)} hits, "
        f"{_change(other['db_statements'], one['db_statements'])} statements and "
        f"{_change(other['mean_live_keys'], one['mean_live_keys'])} states in memory"
        + _broken(advice, other)
        for name, other in (("Half", half), ("twice", twice))
    ]
    return f"{said[0]}; {said[1]}."


def halves_sentence(advice: Advice) -> str:
    """Return how a TTL learnt on the first half does on the second."""
    halves = advice.halves
    if advice.by_curve_only:
        return ""
    if halves is None:
        return "The trace has too little in one of its halves to test what is learnt on the first."
    if not halves.first.feasible:
        return "On the first half alone no TTL meets the limits, so there is nothing to test."
    learnt = f"A TTL learnt on the first half, {duration(halves.first.ttl_s)}, has "
    rate = f"{_percent(halves.learnt['hit_rate'])} hits on the second"
    broken = f" and breaks the limit on {_listed(halves.broken)} there" if halves.broken else ""
    if halves.first.ttl_s == halves.second.ttl_s:
        return f"{learnt}{rate}{broken}: the second half would choose the same."
    other = duration(halves.second.ttl_s)
    return (
        f"{learnt}{rate}{broken}; the second half's own choice, {other}, has "
        f"{_signed_points(halves.regret)} hits, and the one learnt makes "
        f"{100 * halves.more_statements:+.1f} % statements."
    )


def groups_sentence(advice: Advice) -> str:
    """Return whether one TTL is a bad compromise between groups of keys."""
    groups = advice.groups
    if advice.by_curve_only:
        return (
            "The trace was replayed in parts, so its halves and groups of keys were not compared: "
            "for that, advise on a sample of its keys in one piece."
        )
    if groups is None:
        return "There are no groups of keys to tell apart."
    kind = "prefixes" if groups.by == "prefix" else "classes of keys by reads"
    if not groups.worth_it:
        return (
            f"One TTL does: a TTL for each of {len(groups.table)} {kind} gains "
            f"{_signed_points(groups.gain)} in the same memory."
        )
    least, most = groups.table["ttl_s"].min(), groups.table["ttl_s"].max()
    return (
        f"One TTL is a compromise: a TTL for each of {len(groups.table)} {kind}, "
        f"{duration(least)} to {duration(most)}, gains "
        f"{_signed_points(groups.gain)} in the same memory, or saves "
        f"{_percent(groups.saved_memory)} of it with as many hits."
    )


def adaptive_sentence(advice: Advice) -> str:
    """Return what the manager's adaptive TTL would give."""
    adaptive = advice.adaptive
    if adaptive is None:
        return ""
    lived, same = adaptive.lived, adaptive.same_memory
    part = "" if adaptive.share > 0.999 else f" (on {_percent(adaptive.share)} of the operations)"
    verdict = "worth trying" if adaptive.gain >= 0.01 else "not worth it here"
    return (
        f"Adaptive TTLs that aim at {_percent(adaptive.target)}{part} reach "
        f"{_percent(lived.hit_rate)} with {show_number(lived.live_keys)} states in memory; one TTL "
        f"with as much memory, {duration(same['ttl_s'])}, has {_percent(same['hit_rate'])}: "
        f"{verdict}."
    )


def curve_table(advice: Advice, rows: int = 9) -> pd.DataFrame:
    """Return some rows of the curve, evenly spread, with the chosen TTL, its half and its double.

    Columns: those of the curve, and ``note``: what is special about a row.
    """
    curve, choice = advice.choice.curve, advice.choice
    spread = np.geomspace(curve["ttl_s"].iloc[0], curve["ttl_s"].iloc[-1], rows)
    places = {int((curve["ttl_s"] - one).abs().argmin()) for one in spread} | {choice.place}
    if choice.knee_place is not None:
        places.add(choice.knee_place)
    some = curve.iloc[sorted(places)].assign(note="")
    around = advice.around.iloc[[0, 2]].assign(note=["half", "double"])
    around["meets"] = [
        all(limit.met(around.iloc[[place]])[0] for limit in advice.limits.given)
        for place in range(len(around))
    ]
    table = pd.concat([some, around]).drop_duplicates("ttl_s", keep="last")
    table.loc[table["ttl_s"] == choice.ttl_s, "note"] = "run" if advice.feasible else "nearest"
    knee = table["ttl_s"] == (choice.knee_s or -1.0)
    table.loc[knee, "note"] = [f"{note}, knee".lstrip(", ") for note in table.loc[knee, "note"]]
    return table.sort_values("ttl_s", ignore_index=True)


def scope_sentence(advice: Advice) -> str:
    """Return what the advice rests on, and what it does not say."""
    policy = advice.policy
    bypass = f", {_percent(policy.bypass_share)} of them bypassing" if policy.bypass_share else ""
    sample = f" (a sample of {_percent(policy.sample)} of all keys)" if policy.sample < 1 else ""
    short = (
        f" The trace lasts only {advice.duration_s / advice.ttl_s:.1f} times the TTL: a longer one "
        "would say more."
        if advice.duration_s < _LONG_ENOUGH * advice.ttl_s
        else ""
    )
    return (
        f"Exact replay of {advice.operations:,} operations on {advice.keys:,} keys in "
        f"{duration(advice.duration_s)}{sample}, {policy.expiry} expiry, writes "
        f"{policy.writes}{bypass}; the cache starts empty. Rates and memory are means over that "
        "time, so leave room for peaks. Another stream needs its own advice." + short
    )


def memory(row: pd.Series) -> str:
    """Return how much a row keeps in memory."""
    states = f"{show_number(row['mean_live_keys'])} states"
    known = not math.isnan(row["memory_bytes"])
    return f"{states} ({size(row['memory_bytes'])})" if known else states


def _why(advice: Advice) -> str:
    choice = advice.choice
    given = ", and it meets all limits" if advice.limits.given else ""
    if choice.knee_s is None:
        if advice.limits.given:
            return "the curve has no knee, and of what the limits leave it gives the most hits"
        return (
            "the curve has no knee (each doubling gains about as much as the last), and this is "
            "the shortest that gets 99 % of what any TTL can: give limits"
        )
    if choice.place == choice.knee_place:
        return f"that is the knee of the curve{given}"
    side = "shortest" if choice.ttl_s > choice.knee_s else "longest"
    return (
        f"of the TTLs within the limits it is the {side}, next to the knee at {_ttl(choice.knee_s)}"
    )


def _excluded(exclusion: Exclusion, curve: pd.DataFrame) -> str:
    limit, first, last = exclusion.limit, curve["ttl_s"].iloc[0], curve["ttl_s"].iloc[-1]
    what = f"{limit.what[:1].upper()}{limit.what[1:]} of {_bound(limit)}"
    if not exclusion.stretches:
        return f"{what}: excludes nothing."
    if exclusion.stretches == ((first, last),):
        return f"{what}: excludes every TTL."
    parts = [_stretch(begin, end, curve["ttl_s"].to_numpy()) for begin, end in exclusion.stretches]
    return f"{what}: excludes TTLs {_listed(parts)}."


def _stretch(begin: float, end: float, ttls: NDArray[np.float64]) -> str:
    """Name a stretch by the TTLs next to it, which are not excluded."""
    first, last = np.searchsorted(ttls, [begin, end])
    if first == 0:
        return f"below {duration(ttls[last + 1])}"
    if last == ttls.size - 1:
        return f"above {duration(ttls[first - 1])}"
    return f"between {duration(ttls[first - 1])} and {duration(ttls[last + 1])}"


def _short(shortfall: Shortfall, limits: int) -> str:
    limit = shortfall.limit
    reach = "at least" if not limit.at_least else "at most"
    others = "With all other limits met" if limits > 1 else "Under any TTL"
    return (
        f"{others}, {limit.what} comes to {reach} {_value(limit, shortfall.best)} "
        f"(TTL {duration(shortfall.ttl_s)}): {_difference(limit, shortfall.by)} short of "
        f"{_bound(limit)}."
    )


def _bound(limit: Limit) -> str:
    return f"{'at least' if limit.at_least else 'at most'} {_value(limit, limit.bound)}"


def _value(limit: Limit, value: float) -> str:
    if limit.unit == "share":
        return _percent(value)
    if limit.unit == "seconds":
        return duration(value)
    if limit.unit == "bytes":
        return size(value)
    return f"{show_number(value)} a second"


def _difference(limit: Limit, value: float) -> str:
    return f"{100 * value:.2f} points" if limit.unit == "share" else _value(limit, value)


def _broken(advice: Advice, row: pd.Series) -> str:
    over = [limit.what for limit in advice.limits.given if not limit.excess(row[limit.column]) <= 0]
    return f" (beyond the limit on {_listed(over)})" if over else ""


def _points(row: pd.Series, base: pd.Series) -> str:
    return _signed_points(float(row["hit_rate"] - base["hit_rate"]))


def _signed_points(share: float) -> str:
    return f"{100 * share:+.1f} points"


def _change(value: float, base: float) -> str:
    return f"{100 * (value / base - 1):+.0f} %" if base else "no"


def _percent(share: float) -> str:
    return f"{100 * share:.{2 if share < 0.1 else 1}f} %"


def _ttl(seconds: float) -> str:
    shown, plain = duration(seconds), f"{seconds:.10g} s"
    return plain if shown == plain else f"{plain} ({shown})"


def _listed(parts: Iterable[str]) -> str:
    *most, last = list(parts)
    return f"{', '.join(most)} and {last}" if most else last

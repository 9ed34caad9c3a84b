"""What the tuning of a TTL says: answer and limits; all computed."""

from __future__ import annotations

from statecache.study.advisor import wording
from statecache.study.questions.tune_ttl.findings import assert_agreement
from statecache.study.questions.tune_ttl.measure import Tuning

__all__ = ["answer", "limits", "reasons"]


def answer(tuning: Tuning) -> list[str]:
    """Return the sentences that the run's index opens with."""
    advice = tuning.advice
    return [
        wording.headline(advice),
        *wording.shortfall_sentences(advice),
        assert_agreement(tuning),
    ]


def reasons(tuning: Tuning) -> list[str]:
    """Return why it is this TTL, and what it costs to be wrong."""
    advice = tuning.advice
    said = [
        *wording.exclusion_sentences(advice),
        wording.wrong_sentence(advice),
        wording.halves_sentence(advice),
        wording.groups_sentence(advice),
        wording.adaptive_sentence(advice),
    ]
    return [sentence for sentence in said if sentence]


def limits(tuning: Tuning) -> list[str]:
    """Return the sentences on where the findings do not hold."""
    part, cells = tuning.part, tuning.cells
    after_s = part.begins_s - float(tuning.trace.time_s[0])
    said = [
        wording.scope_sentence(tuning.advice),
        (
            f"Live were {len(part.trace):,} operations on {100 * part.key_share:.0f} % of the "
            f"keys, {wording.duration(part.trace.duration_s)} from {wording.duration(after_s)} "
            f"after the trace's beginning, {part.time_scale:,.0f} times compressed, from empty "
            "caches: their hit rate is that of the slice and not of the whole trace."
        ),
        (
            "In virtual time a fetch takes no time. Live it takes milliseconds, in which "
            f"{int(cells['coalesced'].sum())} loads shared another's database read: they are "
            "counted as hits where live is compared with the planned times."
        ),
        "Servers and client share one machine over loopback: no latency here is a promise.",
    ]
    noisy = cells[~cells["quiet"].astype(bool)]
    if len(noisy):
        names = ", ".join(wording.duration(ttl) for ttl in noisy["ttl_s"])
        said.append(
            f"The machine was not quiet beside the TTL at {names}: there only the replay of the "
            "executed times is a check."
        )
    if set(cells["counted_by"]) != {"PostgreSQL"}:
        said.append(
            "This PostgreSQL keeps no count of statements (pg_stat_statements): their numbers are "
            "the managers' own and have not been checked."
        )
    return said

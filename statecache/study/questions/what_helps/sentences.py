"""Every sentence of the notebook on what helps."""

from __future__ import annotations

from statecache.study.harness.variants import ALL, GATHER, REDIS
from statecache.study.intervals import MIN_PAIRS
from statecache.study.questions.memory import COMPRESSED, LARGE
from statecache.study.questions.what_helps.findings import Findings, Other
from statecache.study.questions.what_helps.measure import LARGE_BYTES
from statecache.study.questions.wording import BUSY_CLIENT, limits_of, percent, times_of
from statecache.study.verdicts import LEVEL

__all__ = ["answer", "limits", "table_caption"]


def answer(findings: Findings) -> list[str]:
    """Return the sentences that the run's index opens with."""
    return [
        *(_total_sentence(findings, callers) for callers in findings.callers),
        _cache_sentence(findings),
        _absorbed_sentence(findings),
        _memory_sentence(findings),
        _others_sentence(findings),
    ]


def table_caption(findings: Findings) -> str:
    """Return the caption of the table of variants."""
    pools = ", ".join(
        f"{connections} at {callers} callers"
        for callers, connections in findings.helps.best_pools.items()
    )
    return (
        f"What every combination of mechanisms did and what the servers counted, "
        f"{percent(findings.helps.settings.read_share)} reads, medians over {findings.blocks} "
        f"blocks, profile {findings.profile}; connections to PostgreSQL, as many as are "
        f"best without any "
        f"mechanism: {pools}. Times: throughput over that of none. {_backend_sentence(findings)}"
    )


def limits(findings: Findings) -> list[str]:
    """Return the sentences on where the findings do not hold."""
    noise, cells = findings.noise, findings.cells
    said = [
        (
            f"The profile is {findings.profile}: where the database is far away and Redis is near, "
            "a cache saves round trips that cost nothing here, and its share grows."
        ),
        _client_sentence(findings),
        (
            f"The baseline measured twice is {times_of(noise)} of itself, {percent(LEVEL)} "
            f"interval {limits_of(noise)}: what lies within that is noise."
        ),
        (
            f"Others had up to {percent(cells['foreign_share'].max())} of the machine during a "
            f"cell, at the median {percent(cells['foreign_share'].median())}."
        ),
        (
            "Cells at a TTL of 0.3 s begin with an empty cache, since others run between them: "
            "what helps after an hour is another question (ttl_sweep)."
        ),
        (
            "Documents have 190 B of JSON and are in PostgreSQL's buffers, but for the rows that "
            "say otherwise; entries do not expire where the TTL is not what is compared."
        ),
        (
            "With synchronous_commit off PostgreSQL may lose the last commits in a crash: that "
            "row is another promise, not a faster way to keep the same one."
        ),
    ]
    if not findings.is_cold:
        said.append("PostgreSQL's buffers could not be emptied here: the cold row is warm.")
    if findings.blocks < MIN_PAIRS:
        said.append(f"{findings.blocks} blocks decide nothing: {MIN_PAIRS} are needed.")
    return [*said, findings.helps.measurements.placement]


def _total_sentence(findings: Findings, callers: int) -> str:
    gathering = findings.effect("gathering, no cache", findings.mix, callers)
    cache = findings.effect("both caches, gathered", findings.mix, callers)
    total = findings.gain(ALL, findings.mix, callers)
    best = findings.helps.best_pools[callers]
    return (
        f"With {callers} callers, {percent(findings.helps.settings.reads)} reads and "
        f"{findings.mix} keys all mechanisms together do {times_of(total)} ({limits_of(total)}) "
        f"what the manager does without any, at its best pool of {best} connections: "
        f"gathering alone, which is not caching, {times_of(gathering)} ({limits_of(gathering)}), "
        f"and Redis with the in-process tier {times_of(cache)} ({limits_of(cache)}) of that."
    )


def _cache_sentence(findings: Findings) -> str:
    callers = findings.callers[0]
    plain = findings.gain(REDIS, findings.mix, callers)
    gathered = findings.effect("Redis, gathered", findings.mix, callers)
    memory = findings.effect("in-process tier, gathered", findings.mix, callers)
    uniform = findings.effect("both caches, gathered", "uniform", callers)
    return (
        f"What the cache itself adds at {callers} callers: Redis {times_of(plain)} "
        f"({limits_of(plain)}) against the same manager without gathering, {times_of(gathered)} "
        f"({limits_of(gathered)}) where both gather; the in-process tier on top {times_of(memory)} "
        f"({limits_of(memory)}); both together, on uniform keys, {times_of(uniform)} "
        f"({limits_of(uniform)})."
    )


def _absorbed_sentence(findings: Findings) -> str:
    callers = findings.callers[-1]
    mix, uniform = (
        percent(findings.absorbed(keys, callers), 1) for keys in findings.helps.settings.mixes
    )
    return (
        f"Of the writes of {callers} gathered callers {mix} on {findings.mix} keys and {uniform} "
        "on uniform ones were absorbed: a later write to the same key in the same statement outdid "
        "them, and each caller was answered when that was committed."
    )


def _others_sentence(findings: Findings) -> str:
    decided = findings.blocks >= MIN_PAIRS
    groups: dict[str, list[Other]] = {"faster": [], "slower": []}
    for one in findings.others:
        if decided and one.word in groups:
            groups[one.word].append(one)
    said = [
        f"{word}: " + ", ".join(f"{one.name} ({times_of(one.interval)})" for one in found)
        for word, found in groups.items()
        if found
    ]
    if not said:
        return "Of the other mechanisms, each alone, none changed the throughput beyond doubt."
    return (
        f"Of the other mechanisms, each alone, these changed the throughput beyond doubt: "
        f"{'; '.join(said)}."
    )


def _memory_sentence(findings: Findings) -> str:
    plain, compressed = findings.bytes_of(LARGE), findings.bytes_of(COMPRESSED)
    return (
        f"Compressed, a document of {LARGE_BYTES:,} B of this study takes {compressed:,.0f} B in "
        f"Redis instead of {plain:,.0f} ({compressed / plain:.2f}x), key and overhead included; "
        "how much others gain depends on what is in them."
    )


def _client_sentence(findings: Findings) -> str:
    shares = findings.cells.groupby("cell")["client_share"].median()
    busy = int((shares > BUSY_CLIENT).sum())
    said = "Client, PostgreSQL and Redis share one machine, and the client is one process: "
    ""
    if not busy:
        return f"{said}it used at most {percent(shares.max())} of a core."
    return (
        f"{said}in {busy} of {len(shares)} conditions it used more than {percent(BUSY_CLIENT)} of "
        "a core, and there the throughput is the client's as much as the servers'."
    )


def _backend_sentence(findings: Findings) -> str:
    if findings.cells["backend_us_per_op"].isna().all():
        return "PostgreSQL's CPU time cannot be read: the servers run elsewhere."
    none, gathered = (
        findings.table.loc[
            (findings.table["mechanisms"] == name)
            & (findings.table["keys"] == findings.mix)
            & (findings.table["callers"] == findings.callers[0]),
            "backend CPU (µs/op)",
        ].iloc[0]
        for name in ("none", GATHER.name)
    )
    return (
        f"Gathering alone takes PostgreSQL {gathered:,.0f} µs of CPU an operation instead of "
        f"{none:,.0f} µs."
    )

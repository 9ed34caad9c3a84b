from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecache.stats import CacheStats
from statecache.study.questions.ttl_sweep.cells import (
    EXECUTED_LIMIT,
    PLANNED_LIMIT,
    QUIET_SHARE,
    Cells,
    age_at_hit_s,
    cells_of,
    executed_trace,
    first_misses,
)
from statecache.study.questions.ttl_sweep.live_pass import PassRecord
from statecache.study.questions.ttl_sweep.live_replay import LiveLog
from statecache.study.replay import hit_curve

NONE = float("nan")

#: Event time runs 60 times as fast as the clock: a minute of TTL is a second.
SCALE = 60.0
CACHED, UNCACHED = "ttl_1m", "uncached"
TTL_S = 1.0


class Done(NamedTuple):
    """One access of a manager, in seconds of the clock."""

    operation: str
    key: str
    outcome: str
    started_s: float
    ended_s: float
    armed_s: float = NONE


#: One departure and two looks, in seconds of event time. By plan the entry of the departure is 61 s
#: old at the first look, too old for a TTL of a minute, and what that fills is at the second.
STREAM = pd.DataFrame(
    {
        "time_s": [0.0, 61.0, 130.0],
        "key": ["JFK-LAX"] * 3,
        "kind": ["event", "look", "look"],
        "delay_min": [7.0, NONE, NONE],
    }
)

#: Live, the departure's update reached the cache 50 ms late: the first look hits.
LIVE = [
    Done("load", "JFK-LAX", "absent", 0.000, 0.010, 0.008),
    Done("update", "JFK-LAX", "committed", 0.010, 0.060, 0.050),
    Done("load", "JFK-LAX", "hit", 1.017, 1.019),
    Done("load", "JFK-LAX", "absent", 2.167, 2.177, 2.176),
]

WITHOUT_A_CACHE = [
    Done("load", "JFK-LAX", "database", 0.000, 0.004),
    Done("update", "JFK-LAX", "committed", 0.004, 0.010),
    Done("load", "JFK-LAX", "database", 1.017, 1.021),
    Done("load", "JFK-LAX", "database", 2.167, 2.171),
]

STATS = {
    CACHED: CacheStats(
        enabled=True,
        ttl_secs=TTL_S,
        hits=1,
        misses=2,
        fills=2,
        puts=1,
        db_reads=2,
        db_writes=1,
        # Three loads, a script for the update and each of the two fills.
        cache_commands={"GET": 3, "EVALSHA": 3},
    ),
    UNCACHED: CacheStats(enabled=False, ttl_secs=0, db_reads=3, db_writes=1),
}


def accesses_of(logs: dict[str, list[Done]]) -> pd.DataFrame:
    frame = pd.concat(
        [
            pd.DataFrame(log, columns=list(Done._fields)).assign(variant=variant)
            for variant, log in logs.items()
        ],
        ignore_index=True,
    )
    return frame.astype(dict.fromkeys(("variant", "operation", "outcome", "key"), "category"))


def requests_of(variants: list[str], late_s: float = 0.002, took_s: float = 0.060) -> pd.DataFrame:
    planned = np.tile(STREAM["time_s"] / SCALE, len(variants))
    return pd.DataFrame(
        {
            "variant": pd.Categorical(np.repeat(variants, len(STREAM))),
            "kind": pd.Categorical(np.tile(STREAM["kind"], len(variants))),
            "planned_s": planned,
            "started_s": planned + late_s,
            "ended_s": planned + late_s + took_s,
        }
    )


def record_of(
    logs: dict[str, list[Done]],
    stats: dict[str, CacheStats] = STATS,
    statements: dict[str, int] | None = None,
) -> PassRecord:
    log = LiveLog(requests_of(list(logs)), accesses_of(logs), elapsed_s=2.0, cpu_share=0.25)
    return PassRecord(log, stats, statements)


def measured(record: PassRecord) -> Cells:
    return cells_of(
        record,
        STREAM,
        ttl_min={UNCACHED: NONE, CACHED: 1.0},
        live_ttl_ms=lambda minutes: round(minutes * 60_000 / SCALE),
        labels={"start": "2013-02-04", "attempt": 2},
    )


@pytest.fixture(scope="module")
def cells() -> Cells:
    logs = {UNCACHED: WITHOUT_A_CACHE, CACHED: LIVE}
    return measured(record_of(logs, statements={UNCACHED: 4, CACHED: 3}))


def cell(cells: Cells, variant: str) -> dict[str, Any]:
    (row,) = cells.cells[cells.cells["variant"] == variant].to_dict("records")
    return {str(name): value for name, value in row.items()}


# Hit rates


def test_a_cached_variant_is_counted_and_replayed_twice(cells: Cells) -> None:
    row = cell(cells, CACHED)
    assert (row["start"], row["attempt"]) == ("2013-02-04", 2)
    assert (row["ttl_min"], row["live_ttl_ms"]) == (1.0, 1000)
    assert (row["reads"], row["writes"], row["hits"]) == (3, 1, 1)
    assert row["hit_rate"] == row["hit_rate_executed"] == pytest.approx(1 / 3)
    assert row["served_rate"] == row["hit_rate"], "nobody shared a read"
    assert row["hit_rate_planned"] == 0, "by plan each look comes too late"
    assert row["statements"] == 3
    assert row["redis_commands"] == 6
    assert row["cpu_share"] == 0.25
    assert row["misses_first"] == 1
    assert row["age_at_hit_s"] == pytest.approx(1.017 - 0.050), "since the update reached the cache"


def test_what_has_no_cache_has_no_hit_rate(cells: Cells) -> None:
    row = cell(cells, UNCACHED)
    assert (row["reads"], row["writes"], row["hits"]) == (3, 1, 0)
    rates = ["hit_rate", "served_rate", "hit_rate_executed", "hit_rate_planned"]
    assert all(np.isnan(row[name]) for name in ["ttl_min", "live_ttl_ms", *rates])
    assert row["statements"] == 4
    assert row["redis_commands"] == 0
    assert row["quiet"]


def test_where_the_server_keeps_no_count_the_managers_do() -> None:
    record = record_of({UNCACHED: WITHOUT_A_CACHE, CACHED: LIVE}, statements=None)
    cells = measured(record)
    for name, stats in record.stats.items():
        assert cell(cells, name)["statements"] == stats.db_reads + stats.db_writes
    assert set(cells.cells["counted_by"]) == {"the managers"}
    assert cell(cells, CACHED)["hit_rate"] == pytest.approx(1 / 3)


def test_trouble_of_the_pass_is_told() -> None:
    stats = STATS | {CACHED: replace(STATS[CACHED], fills=0, fills_dropped=2, coalesced=1)}
    row = cell(measured(record_of({UNCACHED: WITHOUT_A_CACHE, CACHED: LIVE}, stats)), CACHED)
    assert (row["fills_dropped"], row["coalesced"]) == (2, 1)
    assert row["redis_commands"] == 6, "a fill that came too late was a command, too"
    assert row["hit_rate"] == pytest.approx(1 / 3)
    assert row["served_rate"] == pytest.approx(2 / 3), "and who shared a read was served by it"


# The trace of what was done


def executed_hits(log: list[Done], ttl_s: float = TTL_S) -> int:
    curve = hit_curve(executed_trace(accesses_of({CACHED: log})), [ttl_s])
    return int(curve["hits"].iloc[0])


def test_an_entry_arrives_when_it_was_sent_not_when_the_load_began() -> None:
    slow = Done("load", "k", "absent", 0.0, 0.5, 0.3)
    assert executed_hits([slow, Done("load", "k", "absent", 0.2, 0.5, 0.4)]) == 0
    assert executed_hits([slow, Done("load", "k", "hit", 0.35, 0.36)]) == 1, "sent, not answered"
    # Its age counts from then on: at 1.25 s it is 0.95 s old, at 1.35 s more than a second.
    assert executed_hits([slow, Done("load", "k", "hit", 1.25, 1.26)]) == 1
    assert executed_hits([slow, Done("load", "k", "absent", 1.35, 1.36, 1.355)]) == 0


def test_a_load_looks_up_when_it_begins() -> None:
    log = [
        Done("update", "k", "committed", 0.0, 0.3, 0.2),
        Done("load", "k", "absent", 0.1, 0.4, 0.35),  # ends after the update, began before
    ]
    assert executed_hits(log) == 0


def test_a_miss_that_shared_a_read_put_nothing() -> None:
    log = [
        Done("load", "k", "absent", 0.0, 0.1, 0.09),
        Done("load", "k", "absent", 0.05, 0.1),  # coalesced with the first
        Done("load", "k", "hit", 1.05, 1.06),  # 0.96 s after the first one's fill
        Done("load", "k", "absent", 1.11, 1.2, 1.19),
    ]
    assert executed_hits(log) == 1


def test_what_never_reached_the_cache_is_never_found_there() -> None:
    log = [
        Done("load", "k", "absent", 0.0, 0.1),  # its fill came too late and was dropped
        Done("load", "k", "absent", 0.2, 0.3),
        Done("update", "k", "unrepaired", 0.4, 0.5),
        Done("load", "k", "absent", 0.6, 0.7),
    ]
    assert executed_hits(log, ttl_s=1e9) == 0


def test_keys_do_not_share_entries() -> None:
    log = [
        Done("load", "a", "absent", 0.0, 0.1, 0.09),
        Done("load", "b", "absent", 0.2, 0.3, 0.29),
        Done("load", "a", "hit", 0.4, 0.41),
    ]
    assert executed_hits(log) == 1


def test_a_hit_that_replay_calls_a_miss_costs_no_more_than_itself() -> None:
    log = [
        Done("load", "k", "absent", 0.0, 0.1, 0.1),
        Done("load", "k", "hit", 1.101, 1.102),  # a hair too late for replay, which then fills
        Done("load", "k", "hit", 1.5, 1.501),
        Done("load", "k", "hit", 2.0, 2.001),
    ]
    assert executed_hits(log) == 2


def simulated(operations: list[tuple[bool, str, float]], ttl_s: float) -> list[Done]:
    """Return what a cache does with loads (true) and updates, one after the other."""
    armed: dict[str, float] = {}
    log = []
    now = 0.0
    for is_load, key, pause in operations:
        now += pause
        hit = is_load and key in armed and now - armed[key] <= ttl_s
        sent, ended = now + 0.004, now + 0.005
        if hit:
            log.append(Done("load", key, "hit", now, ended))
        else:
            armed[key] = sent
            outcome = "absent" if is_load else "committed"
            log.append(Done("load" if is_load else "update", key, outcome, now, ended, sent))
        now = ended
    return log


OPERATIONS = st.lists(
    st.tuples(st.booleans(), st.sampled_from("abc"), st.floats(0, 0.6)), min_size=1, max_size=40
)


@settings(deadline=None, max_examples=50)
@given(OPERATIONS, st.floats(0.01, 2.0))
def test_replay_of_the_executed_times_gives_the_outcomes_that_were_seen(
    operations: list[tuple[bool, str, float]], ttl_s: float
) -> None:
    log = simulated(operations, ttl_s)
    assert executed_hits(log, ttl_s) == sum(done.outcome == "hit" for done in log)


@settings(deadline=None, max_examples=50)
@given(OPERATIONS, st.floats(0.01, 2.0))
def test_ages_and_first_misses_are_those_of_the_replay(
    operations: list[tuple[bool, str, float]], ttl_s: float
) -> None:
    accesses = accesses_of({CACHED: simulated(operations, ttl_s)})
    replayed = hit_curve(executed_trace(accesses), [ttl_s]).iloc[0]
    assert first_misses(accesses) == replayed["misses_first"]
    assert age_at_hit_s(accesses) == pytest.approx(replayed["mean_age_at_hit_s"], nan_ok=True)


# Latencies


def test_latencies_are_told_by_operation_in_microseconds(cells: Cells) -> None:
    row = cell(cells, CACHED)
    for percent in ("p50", "p99"):
        assert row[f"hit_{percent}_us"] == pytest.approx(2_000)
        assert row[f"miss_{percent}_us"] == pytest.approx(10_000)
    assert row["load_p50_us"] == pytest.approx(10_000)
    assert row["load_mean_us"] == pytest.approx((2_000 + 10_000 + 10_000) / 3)
    assert row["commit_p50_us"] == row["commit_p99_us"] == pytest.approx(50_000)
    # A request counts from its planned start: 2 ms late, 60 ms at work.
    assert row["request_p50_us"] == pytest.approx(62_000)
    assert row["late_p99_us"] == pytest.approx(2_000)
    uncached = cell(cells, UNCACHED)
    assert uncached["load_p50_us"] == uncached["miss_p50_us"] == pytest.approx(4_000)
    assert uncached["commit_p50_us"] == pytest.approx(6_000)
    assert np.isnan(uncached["hit_p50_us"])


def test_percentiles_of_many() -> None:
    log = [Done("update", "k", "committed", n, n + n / 1e3, n) for n in range(1, 102)]
    log += [Done("load", "k", "absent", 200, 200.1, 200.1)]
    row = cell(measured(record_of({UNCACHED: WITHOUT_A_CACHE, CACHED: log})), CACHED)
    assert row["commit_p50_us"] == pytest.approx(51_000)
    assert row["commit_p99_us"] == pytest.approx(100_000)


def test_histograms_count_every_operation_once(cells: Cells) -> None:
    frame = cells.histograms
    assert set(frame["start"]) == {"2013-02-04"}
    assert set(frame["attempt"]) == {2}
    counts = frame.groupby(["variant", "operation"])["count"].sum()
    expected = {"hit": 1, "miss": 2, "load": 3, "commit": 1, "request": 3}
    assert counts[CACHED].to_dict() == expected
    without_hits = {name: count for name, count in expected.items() if name != "hit"}
    assert counts[UNCACHED].to_dict() == without_hits | {"miss": 3}
    hit = frame[frame["operation"] == "hit"]
    assert hit["low_us"].item() <= 2_000 <= hit["high_us"].item() * (1 + 1e-9)


# Whether the machine was quiet


@pytest.mark.parametrize(("commit_s", "quiet"), [(0.0195, True), (0.0205, False)])
def test_quick_commits_beside_the_ttl_make_a_quiet_cell(commit_s: float, quiet: bool) -> None:
    assert QUIET_SHARE * TTL_S == 0.02
    log = [
        Done("load", "k", "absent", 0.0, 0.5, 0.5),  # slow loads alone are no noise
        Done("update", "k", "committed", 0.5, 0.5 + commit_s, 0.5),
    ]
    row = cell(measured(record_of({UNCACHED: WITHOUT_A_CACHE, CACHED: log})), CACHED)
    assert row["quiet"] == quiet


def cells_with(**columns: list[Any]) -> Cells:
    """Return the cells of a variant without a cache, and of cached ones with these columns."""
    count = len(next(iter(columns.values())))
    rates = ("hit_rate", "hit_rate_executed", "served_rate", "hit_rate_planned")
    cached: dict[str, list[Any]] = {
        **{name: [value] * count for name, value in zip(rates, (0.5, 0.5, 0.6, 0.6), strict=True)},
        "quiet": [True] * count,
        "commit_p99_us": [1_000.0] * count,
        **columns,
    }
    without = {
        name: [{"quiet": True, "commit_p99_us": 800.0}.get(name, NONE), *values]
        for name, values in cached.items()
    }
    return Cells(pd.DataFrame(without), pd.DataFrame())


@pytest.mark.parametrize(
    ("executed", "off"),
    [([0.5, 0.5], False), ([0.5, 0.504], False), ([0.494, 0.5], True), ([0.5, 0.506], True)],
)
def test_a_replay_of_the_executed_times_is_off_beyond_half_a_point(
    executed: list[float], off: bool
) -> None:
    assert EXECUTED_LIMIT == 0.005
    assert cells_with(hit_rate_executed=executed).executed_is_off == off
    noisy = cells_with(hit_rate_executed=executed, quiet=[False, False])
    assert noisy.executed_is_off == off, "noise is no excuse: these are the executed times"


@pytest.mark.parametrize(
    ("planned", "quiet", "off"),
    [
        ([0.6, 0.6], [False, False], False),
        ([0.6, 0.609], [False, False], False),
        ([0.6, 0.611], [True, False], True),
        ([0.589, 0.6], [False, True], True),
        ([0.6, 0.611], [False, True], False),  # off where it was quiet: not by noise
    ],
)
def test_a_replay_of_the_planned_times_is_off_by_noise_beyond_a_point(
    planned: list[float], quiet: list[bool], off: bool
) -> None:
    assert PLANNED_LIMIT == 0.01
    cells = cells_with(hit_rate_planned=planned, quiet=quiet)
    assert cells.planned_is_off_by_noise == off
    assert not cells.executed_is_off


def test_a_pass_is_as_slow_as_its_slowest_variant() -> None:
    assert cells_with(commit_p99_us=[700.0, 2_500.0]).commit_p99_us == 2_500.0
    assert cells_with(commit_p99_us=[700.0, 600.0]).commit_p99_us == 800.0

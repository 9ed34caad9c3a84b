from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from statecache.study.checkout import find_root
from statecache.study.claims import load_claims
from statecache.study.display import show_table
from statecache.study.flights import flight_stream, to_trace
from statecache.study.intervals import mean_interval, share_interval
from statecache.study.models import aggregate_read_modify_write
from statecache.study.questions.ttl_sweep import measure as ttl_sweep
from statecache.study.questions.ttl_sweep.findings import Findings, assert_agreement, find, ttl_name
from statecache.study.questions.ttl_sweep.measure import UNCACHED, Sweep, SweepSettings
from statecache.study.questions.ttl_sweep.sentences import answer, limits, measured
from statecache.study.questions.ttl_sweep.tables import CELL_FORMATS, cell_caption, cell_table
from statecache.study.replay import hit_curve
from statecache.study.traces import READ, Trace
from statecache.study.verdicts import judge_all

NONE = float("nan")

SETTINGS = SweepSettings(
    starts=("2013-02-04", "2013-06-10", "2013-10-07"),
    days=1.0,
    time_scale=7_200.0,
    ttls_min=(240.5, 60.5, 1_440.5),
    looks=("schedule",),
    timeout_ms=1_000,
    seed=1,
)
ONE_PASS = replace(SETTINGS, starts=SETTINGS.starts[:1])

CLAIMS = load_claims(find_root(Path(__file__).parent))

Edit = Callable[[pd.DataFrame], None]


@pytest.fixture(scope="module", autouse=True)
def streams() -> Iterator[None]:
    """Make each stream once: a sweep asks for it a dozen times, and a test for many sweeps."""

    @cache
    def once(start: str, days: float, looks: tuple[str, ...], seed: int) -> pd.DataFrame:
        return flight_stream(start=start, days=days, looks=looks, seed=seed)

    def stream(*, start: str, days: float, looks: Sequence[str], seed: int) -> pd.DataFrame:
        return once(start, days, tuple(looks), seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ttl_sweep, "flight_stream", stream)
        yield


# A sweep on a machine on which live and replay agree to the operation


@cache
def trace(start: str, looks: tuple[str, ...] = ("schedule",)) -> Trace:
    return to_trace(replace(SETTINGS, looks=looks).stream(start))


def exact(settings: SweepSettings, start: str, *ttls_min: float) -> np.ndarray:
    return hit_curve(trace(start, tuple(settings.looks)), 60 * np.array(ttls_min))[
        "hit_rate"
    ].to_numpy()


def cells_of_pass(settings: SweepSettings, start: str) -> list[dict[str, Any]]:
    replayed = trace(start, tuple(settings.looks))
    reads = int((replayed.op == READ).sum())
    writes = len(replayed) - reads
    latencies = {
        f"{operation}_{percent}_us": value
        for operation, value in (("miss", 900.0), ("load", 700.0), ("commit", 1_500.0))
        for percent in ("p50", "p99")
    }
    common = {"start": start, "attempt": 1, "reads": reads, "writes": writes, "quiet": True}
    common |= {"late_p99_us": 1_200.0, "cpu_share": 0.5, "counted_by": "PostgreSQL"} | latencies
    rates = ("hit_rate", "served_rate", "hit_rate_executed", "hit_rate_planned")
    nothing = dict.fromkeys(("ttl_min", "live_ttl_ms", "hit_p50_us", "hit_p99_us", *rates), NONE)
    uncached = {"variant": UNCACHED, "hits": 0, "redis_commands": 0, "statements": reads + writes}
    uncached |= {"load_p50_us": 640.0, "misses_first": 0, "age_at_hit_s": NONE}
    rows = [common | nothing | uncached]
    for ttl_min in settings.ttls_min:
        found = hit_curve(replayed, [60 * ttl_min]).iloc[0]
        rows.append(
            common
            | dict.fromkeys(rates, found["hit_rate"])
            | {
                "variant": f"ttl {ttl_min}",
                "ttl_min": ttl_min,
                "live_ttl_ms": settings.live_ttl_ms(ttl_min),
                "hits": int(found["hits"]),
                "misses_first": int(found["misses_first"]),
                "age_at_hit_s": found["mean_age_at_hit_s"] / settings.time_scale,
                "hit_p50_us": 300.0,
                "hit_p99_us": 400.0,
                "redis_commands": 2 * reads + writes - int(found["hits"]),
                "statements": float(found["db_statements"]),
            }
        )
    return rows


def sweep_of(settings: SweepSettings = SETTINGS, *edits: Edit) -> Sweep:
    """Return the sweep of a machine without noise, its cells edited."""
    cells = pd.DataFrame(
        [row for start in settings.starts for row in cells_of_pass(settings, start)]
    )
    for edit in edits:
        edit(cells)
    return Sweep(settings, cells, pd.DataFrame(), [])


def one_cell(ttl_min: float, changes: Mapping[str, Any], start: str = "2013-06-10") -> Edit:
    """Change a cell; a number that is given for a rate is the points it is off."""

    def edit(cells: pd.DataFrame) -> None:
        row = (cells["ttl_min"] == ttl_min) & (cells["start"] == start)
        assert row.sum() == 1
        for name, value in changes.items():
            is_rate = name.endswith(("rate", "executed", "planned"))
            cells.loc[row, name] = cells.loc[row, name] + value / 100 if is_rate else value

    return edit


def no_counts(cells: pd.DataFrame) -> None:
    cells["counted_by"] = "the managers"


@pytest.fixture(scope="module")
def findings() -> Findings:
    return find(sweep_of(), gain_worth_points=10.0)


# What is found


def test_a_row_for_every_ttl_in_order_with_means_and_intervals(findings: Findings) -> None:
    by_ttl = findings.by_ttl
    assert by_ttl["ttl_min"].tolist() == [60.5, 240.5, 1_440.5]
    assert by_ttl["live_ttl_ms"].tolist() == [504, 2_004, 12_004]
    for row in by_ttl.to_dict("records"):
        rates = [float(exact(SETTINGS, start, row["ttl_min"])[0]) for start in SETTINGS.starts]
        expected = mean_interval(rates)
        assert (row["hit_rate"], row["low"], row["high"]) == pytest.approx(expected)
        assert row["exact"] == pytest.approx(expected.mean)
        saved = [
            rate * (trace(start).op == READ).mean()
            for start, rate in zip(SETTINGS.starts, rates, strict=True)
        ]
        assert (row["saved"], row["saved_low"], row["saved_high"]) == pytest.approx(
            mean_interval(saved)
        )
    assert by_ttl["quiet"].tolist() == [3, 3, 3]
    assert by_ttl["executed_off"].tolist() == by_ttl["planned_off"].tolist() == [0, 0, 0]
    assert by_ttl["hit_p50_us"].tolist() == [300.0] * 3
    assert by_ttl["load_p50_us"].tolist() == [700.0] * 3
    assert findings.uncached["load_p50_us"] == 640.0
    assert set(findings.cached_cells["variant"]) == {"ttl 60.5", "ttl 240.5", "ttl 1440.5"}


def test_distances_are_the_largest_and_latencies_the_median_over_the_passes() -> None:
    first = one_cell(60.5, {"hit_rate_executed": 0.3, "hit_p50_us": 200.0}, "2013-02-04")
    second = one_cell(60.5, {"hit_rate_executed": -0.4, "quiet": False, "hit_p50_us": 900.0})
    shared = one_cell(240.5, {"served_rate": 0.7, "hit_rate_planned": -0.1})
    by_ttl = find(sweep_of(SETTINGS, first, second, shared), gain_worth_points=10.0).by_ttl
    assert by_ttl["executed_off"].tolist() == pytest.approx([0.004, 0, 0])
    assert by_ttl["planned_off"].tolist() == pytest.approx([0, 0.008, 0])
    assert by_ttl["quiet"].tolist() == [2, 3, 3]
    assert by_ttl["hit_p50_us"].tolist() == [300.0] * 3


def test_live_and_saved_are_what_was_measured_not_what_was_replayed() -> None:
    def worse(cells: pd.DataFrame) -> None:
        cached = cells["variant"] != UNCACHED
        cells.loc[cached, "hit_rate"] -= 0.1
        cells.loc[cached, "statements"] += 100
        cells.loc[~cached, "statements"] += 1_000

    right, wrong = (
        find(sweep_of(ONE_PASS, *edit), gain_worth_points=10) for edit in ((), (worse,))
    )
    assert wrong.by_ttl["hit_rate"].tolist() == pytest.approx(right.by_ttl["hit_rate"] - 0.1)
    assert wrong.by_ttl["exact"].tolist() == pytest.approx(right.by_ttl["exact"].tolist())
    before, after = len(trace("2013-02-04")), len(trace("2013-02-04")) + 1_000
    sent = (1 - right.by_ttl["saved"]) * before + 100
    assert wrong.by_ttl["saved"].tolist() == pytest.approx((1 - sent / after).tolist())


def test_the_curve_is_dense_and_replays_the_same_streams(findings: Findings) -> None:
    curve = findings.curve
    assert curve["ttl_min"].iloc[0] == pytest.approx(5)
    assert curve["ttl_min"].iloc[-1] == pytest.approx(48 * 60)
    assert len(curve) > 50
    for name in ("ttl_min", "exact", "closed_form"):
        assert curve[name].is_monotonic_increasing
    middle = curve.iloc[len(curve) // 2]
    rates = [exact(SETTINGS, start, middle["ttl_min"])[0] for start in SETTINGS.starts]
    assert middle["exact"] == pytest.approx(np.mean(rates))
    assert (curve["closed_form"] - curve["exact"]).abs().max() < 0.35


@pytest.mark.parametrize("looks", [("schedule",), ()])
def test_the_closed_form_weighs_every_route_by_its_reads(looks: tuple[str, ...]) -> None:
    settings = replace(ONE_PASS, looks=looks)
    stream = settings.stream("2013-02-04")
    events = stream[stream["kind"] == "event"].groupby("key").size()
    others = stream[stream["kind"] == "look"].groupby("key").size()
    rates = pd.DataFrame({"events": events, "looks": others}).fillna(0) / 86_400
    expected = aggregate_read_modify_write(rates["looks"], rates["events"], 60 * 60.5)
    by_ttl = find(sweep_of(settings), gain_worth_points=10).by_ttl
    assert by_ttl["closed_form"].iloc[0] == pytest.approx(float(expected))


def test_the_share_of_reads_and_the_documented_ttl(findings: Findings) -> None:
    reads = sum(int((trace(start).op == READ).sum()) for start in SETTINGS.starts)
    total = sum(len(trace(start)) for start in SETTINGS.starts)
    assert findings.read_share == pytest.approx(reads / total)
    at_300_s = [float(exact(SETTINGS, start, 5.0)[0]) for start in SETTINGS.starts]
    assert findings.documented == pytest.approx(share_interval(at_300_s, 0.99))


# The decision


def gains(settings: SweepSettings = SETTINGS) -> dict[float, float]:
    """Return by TTL the points that twice of it gains, mean over the passes."""
    return {
        ttl: 100
        * float(
            np.mean([np.diff(exact(settings, start, ttl, 2 * ttl)) for start in settings.starts])
        )
        for ttl in sorted(settings.ttls_min)
    }


@pytest.mark.parametrize("longest", [0, 1, 2])
def test_the_shortest_ttl_is_chosen_whose_double_gains_less_than_is_worth_it(longest: int) -> None:
    gain = list(gains().values())
    assert gain == sorted(gain, reverse=True), "each doubling gains less than the one before"
    assert gain[2] < 0.5 < 1.5 < gain[1] < gain[0]
    for gain_worth in (gain[longest] + 0.01, *([gain[longest - 1] - 0.01] if longest else [100.0])):
        decision = find(sweep_of(), gain_worth_points=gain_worth).decision
        assert decision.ttl_min == sorted(SETTINGS.ttls_min)[longest]
        assert not decision.falls_short


def test_where_every_doubling_gains_enough_it_is_the_longest_and_falls_short() -> None:
    settings = replace(SETTINGS, ttls_min=(120.5, 60.5))
    decision = find(sweep_of(settings), gain_worth_points=0.5).decision
    assert decision.ttl_min == 120.5
    assert 100 * decision.twice_gains > 0.5
    assert decision.falls_short
    assert "longer" in decision.sentence
    assert_sentences([decision.sentence])


def test_the_decision_in_a_sentence(findings: Findings) -> None:
    decision = findings.decision
    assert decision.ttl_min == 240.5
    half, here, twice = (
        100 * np.mean([exact(SETTINGS, start, 240.5 * factor)[0] for start in SETTINGS.starts])
        for factor in (0.5, 1, 2)
    )
    expected = np.array([here, findings.read_share * here, here - half, twice - here])
    assert [
        decision.hit_rate,
        decision.saved,
        decision.half_costs,
        decision.twice_gains,
    ] == pytest.approx(expected / 100)
    assert decision.sentence == (
        "TTL 4 h: {:.0f} % hits, {:.0f} % fewer PostgreSQL statements; "
        "half of it costs {:.0f} points, twice gains {:.0f}.".format(*expected)
    )


def test_the_decision_does_not_hang_on_the_machine(findings: Findings) -> None:
    worse = one_cell(240.5, {"hit_rate": -20.0, "statements": 9_999.0})
    assert find(sweep_of(SETTINGS, worse), gain_worth_points=10.0).decision == findings.decision


def test_without_a_ttl_there_is_nothing_to_decide() -> None:
    with pytest.raises(ValueError, match="ttls_min"):
        find(sweep_of(replace(ONE_PASS, ttls_min=())), gain_worth_points=10.0)


@pytest.mark.parametrize(
    ("minutes", "name"),
    [
        (5.0, "5 min"),
        (30.5, "30 min"),
        (59.5, "59 min"),
        (60.5, "1 h"),
        (90.5, "1.5 h"),
        (120.5, "2 h"),
        (600.5, "10 h"),
        (1_440.5, "24 h"),
        (2_880, "48 h"),
    ],
)
def test_a_ttl_has_a_name_for_readers(minutes: float, name: str) -> None:
    assert ttl_name(minutes) == name


# Whether live and replay agree


def test_agreement_is_told_with_its_figures() -> None:
    executed = one_cell(60.5, {"hit_rate_executed": -0.31})
    planned = one_cell(240.5, {"hit_rate_planned": 0.87})
    said = assert_agreement(sweep_of(SETTINGS, executed, planned))
    assert re.findall(r"(\S+) points", said) == ["0.31", "0.87"]
    assert said.endswith("at every TTL.")


def test_the_executed_times_have_to_agree_noisy_or_not() -> None:
    live = exact(SETTINGS, "2013-06-10", 240.5)[0]
    for points, noise in ((-0.6, {}), (0.6, {}), (-0.6, {"quiet": False})):
        off = one_cell(240.5, {"hit_rate_executed": points} | noise)
        with pytest.raises(AssertionError) as failed:
            assert_agreement(sweep_of(SETTINGS, off))
        executed = f"{live + points / 100:.4f}"
        for figure in (f"{live:.4f}", executed, "0.60", "240.5", "2013-06-10", "0.5"):
            assert figure in str(failed.value)
    assert_agreement(sweep_of(SETTINGS, one_cell(240.5, {"hit_rate_executed": -0.49})))


def test_the_planned_times_have_to_agree_where_the_machine_was_quiet() -> None:
    off = one_cell(1_440.5, {"hit_rate_planned": -1.5})
    # A cell that is off by more, but noisy, must not take its place in the message.
    noisy = one_cell(60.5, {"hit_rate_planned": 4.0, "quiet": False})
    with pytest.raises(AssertionError) as failed:
        assert_agreement(sweep_of(SETTINGS, off, noisy))
    live = exact(SETTINGS, "2013-06-10", 1_440.5)[0]
    for figure in (f"{live:.4f}", f"{live - 0.015:.4f}", "1.50", "1440.5", "2013-06-10", "quiet"):
        assert figure in str(failed.value)
    assert_agreement(sweep_of(SETTINGS, one_cell(1_440.5, {"hit_rate_planned": -0.99})))


def test_loads_that_shared_a_read_are_hits_beside_the_planned_times() -> None:
    shared = one_cell(60.5, {"served_rate": 1.5, "hit_rate_planned": 1.5})
    assert re.findall(r"(\S+) points", assert_agreement(sweep_of(SETTINGS, shared))) == ["0.00"] * 2
    with pytest.raises(AssertionError, match=r"1\.50 points"):
        assert_agreement(sweep_of(SETTINGS, one_cell(60.5, {"served_rate": 1.5})))


def test_a_noisy_cell_may_miss_the_plan_and_is_named() -> None:
    noisy = one_cell(60.5, {"hit_rate_planned": 1.5, "quiet": False})
    sweep = sweep_of(SETTINGS, noisy, one_cell(240.5, {"hit_rate_planned": 0.2}))
    said = assert_agreement(sweep)
    assert re.search(r"0\.20 points .* 8 of 9 cells .* others .* 1\.50 points", said)
    (named,) = [line for line in limits(find(sweep, gain_worth_points=10)) if "1 of 9" in line]
    assert "(1 h)" in named


def test_where_no_cell_was_quiet_the_planned_times_are_not_compared() -> None:
    def noisy(cells: pd.DataFrame) -> None:
        cells["quiet"] = cells["variant"] == UNCACHED
        cells["hit_rate_planned"] += 0.05

    sweep = sweep_of(SETTINGS, noisy)
    assert "too noisy" in assert_agreement(sweep)
    assert any(
        "9 of 9" in line and "(1 h, 4 h, 24 h)" in line
        for line in limits(find(sweep, gain_worth_points=10))
    )


# Verdicts


JUDGED = [name for name, claim in CLAIMS.items() if "ttl_sweep" in claim.notebooks]


def rows(findings: Findings) -> dict[str, dict[str, Any]]:
    found = judge_all({name: CLAIMS[name] for name in JUDGED}, measured(findings))
    assert [row["id"] for row in found] == JUDGED
    return {row["id"]: row for row in found}


def test_the_documented_ttl_is_judged_by_exact_replay(findings: Findings) -> None:
    row = rows(findings)["hit_rate"]
    documented = findings.documented
    assert row["verdict"] == "does not hold"
    assert row["measured"] == f"{100 * documented.mean:.1f} %"
    assert row["interval"] == f"{100 * documented.low:.1f}–{100 * documented.high:.1f} %"
    assert row["bound"] is None
    assert f"{100 * documented.mean:.0f} %" in row["why"]


def test_the_ttl_for_high_traffic_is_judged_too(findings: Findings) -> None:
    row = rows(findings)["hit_rate_high_traffic"]
    rates = [float(exact(SETTINGS, start, 10.0)[0]) for start in SETTINGS.starts]
    assert row["measured"] == f"{100 * np.mean(rates):.1f} %"
    assert findings.high_traffic.mean > findings.documented.mean
    assert "TTL 10 min" in row["why"]


def test_what_the_share_of_reads_excludes_cannot_hold(findings: Findings) -> None:
    row = rows(findings)["database_queries"]
    best = findings.by_ttl.iloc[-1]
    assert findings.read_share < 0.70
    assert row["verdict"] == "cannot hold"
    assert row["measured"] == f"{100 * best['saved']:.1f} %", "the most that any TTL saved"
    low, high = findings.most_saved.low, findings.most_saved.high
    assert row["interval"] == f"{100 * low:.1f}–{100 * high:.1f} %"
    assert low < best["saved_low"] < best["saved_high"] < high, "verdicts are at 99 %"
    assert f"{100 * findings.read_share:.1f} %" in row["bound"]
    assert f"{100 * findings.read_share:.1f} %" in row["why"]
    assert "TTL 24 h" in row["why"]


def test_a_stream_with_more_reads_can_hold_what_is_promised() -> None:
    settings = replace(SETTINGS, looks=("before", "schedule", "landing"))
    found = find(sweep_of(settings), gain_worth_points=10.0)
    assert found.read_share > 0.75
    assert rows(found)["database_queries"]["verdict"] == "holds"


def test_the_best_ttl_need_not_be_the_longest() -> None:
    def slow(cells: pd.DataFrame) -> None:
        cells.loc[cells["ttl_min"] == 1_440.5, "statements"] += 500

    row = rows(find(sweep_of(SETTINGS, slow), gain_worth_points=10))["database_queries"]
    assert "TTL 4 h" in row["why"]


# Sentences


def texts(findings: Findings) -> list[str]:
    return [*answer(findings), *limits(findings), cell_caption(findings)]


def assert_sentences(said: list[str]) -> None:
    for text in said:
        assert text.endswith(".")
        assert text.splitlines() == [text]
        assert not re.search(r"\b(nan|inf|None)\b", text)
        assert not re.search(r"\d%", text), "a space before the per cent"


def test_the_answer_opens_with_the_decision_and_ends_with_the_agreement(findings: Findings) -> None:
    said = answer(findings)
    assert said[0] == findings.decision.sentence
    assert said[-1] == assert_agreement(findings.sweep)
    assert_sentences(texts(findings))


def test_the_answer_says_which_ttls_give_what_is_promised(findings: Findings) -> None:
    (said,) = [text for text in answer(findings) if "300 s" in text]
    assert f"{100 * findings.documented.mean:.0f} %" in said
    named = re.findall(r"(\d+(?:\.\d)?) (h|min)", said)
    low, high = (float(number) * (60 if unit == "h" else 1) for number, unit in named)
    for ttl_min, promised in ((low, 0.70), (high, 0.90)):
        reached = np.mean([exact(SETTINGS, start, ttl_min)[0] for start in SETTINGS.starts])
        assert reached == pytest.approx(promised, abs=0.01)


@pytest.mark.parametrize(
    ("days", "said"),
    [(0.2, r"No TTL up to 48 h .* 300 s"), (0.5, r"a TTL of \d+(\.\d)? h .*\bmore; .* 300 s")],
)
def test_where_no_ttl_gives_all_that_is_promised_it_is_said(days: float, said: str) -> None:
    # The shorter a pass, the more of its reads are the first of their route, which no TTL helps.
    sweep = replace(sweep_of(ONE_PASS), settings=replace(ONE_PASS, days=days))
    sentences = answer(find(sweep, gain_worth_points=10))
    assert any(re.search(said, text) for text in sentences)
    assert_sentences(sentences)


def test_limits_tell_scale_place_and_second_attempts(findings: Findings) -> None:
    said = limits(findings)
    assert any("7,200 times" in text for text in said)
    assert any("loopback" in text for text in said)
    # A miss takes 0.9 ms, 7,200 times as long in event time.
    assert any("0.9 ms" in text and "6 s of event time" in text for text in said)
    assert not any("2013" in text for text in said)
    twice = replace(findings.sweep, repeated=["2013-02-04", "2013-10-07"])
    more = limits(replace(findings, sweep=twice))
    assert len(more) == len(said) + 1
    assert any("2013-02-04, 2013-10-07" in text for text in more)
    assert_sentences(more)


def test_the_cells_are_tabled_with_their_units(findings: Findings) -> None:
    table = cell_table(findings)
    assert len(table) == 9
    first = table.iloc[0]
    assert (first["pass from"], first["TTL"], first["quick"]) == ("2013-02-04", "4 h", "yes")
    assert first["live (%)"] == pytest.approx(100 * exact(SETTINGS, "2013-02-04", 240.5)[0])
    assert first["commit p99 (ms)"] == 1.5
    assert first["statements"] == findings.cached_cells["statements"].iloc[0]
    show_table(table, caption=cell_caption(findings), formats=CELL_FORMATS)
    noisy = find(
        sweep_of(ONE_PASS, one_cell(60.5, {"quiet": False}, "2013-02-04")), gain_worth_points=9
    )
    assert cell_table(noisy)["quick"].tolist() == ["yes", "no", "yes"]


def test_the_table_s_caption_tells_how_busy_the_client_was() -> None:
    late = one_cell(60.5, {"late_p99_us": 3_400.0, "cpu_share": 0.77})
    caption = cell_caption(find(sweep_of(SETTINGS, late), gain_worth_points=10))
    assert "3.4 ms" in caption
    assert "77 %" in caption


# Fewer figures


def test_one_pass_has_no_intervals_and_says_all_the_same() -> None:
    found = find(sweep_of(ONE_PASS), gain_worth_points=10.0)
    assert found.by_ttl[["low", "high", "saved_low", "saved_high"]].isna().all(axis=None)
    assert found.by_ttl["hit_rate"].notna().all()
    assert_sentences(texts(found))
    judged = rows(found)
    assert judged["hit_rate"]["verdict"] == "not decided"
    assert judged["database_queries"]["verdict"] == "cannot hold", "the bound needs no interval"
    assert_sentences([row["why"] for row in judged.values()])
    assert not any("nan" in str(text) for row in judged.values() for text in row.values())


def test_a_server_that_keeps_no_count_is_told(findings: Findings) -> None:
    found = find(sweep_of(SETTINGS, no_counts), gain_worth_points=10.0)
    assert any("pg_stat_statements" in text for text in limits(found))
    assert not any("pg_stat_statements" in text for text in limits(findings))
    assert_sentences(texts(found))

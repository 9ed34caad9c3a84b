"""Synthetic streams have the figures they are drawn from, and say that they are synthetic."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from statecache.study.checkout import find_root
from statecache.study.traces import (
    DELETE,
    READ,
    TWITTER_CLUSTERS,
    WRITE,
    Mix,
    TraceError,
    draw_trace,
    read_recording,
    read_trace,
    write_trace,
)

STATISTICS = find_root(Path(__file__).parent).parent / "shared" / "data" / "twitter-2020Mar-stat.md"
N = 200_000
MIX = Mix(reads=0.7, writes=0.2, deletes=0.1, zipf=1.2, rate_per_s=50.0, mean_bytes=300.0)


def draw(**changes):
    return draw_trace(MIX, **({"operations": N, "keys": 1_000, "seed": 1} | changes))


def test_the_same_seed_is_the_same_stream_and_another_is_another():
    assert draw().to_frame().equals(draw().to_frame())
    assert not draw().to_frame().equals(draw(seed=2).to_frame())


# The seed is fixed: what follows is decided once, and could fail by chance only where the way of
# drawing changes, with a probability below 1e-6 a figure (5 standard errors).


def test_the_mix_is_as_asked_for():
    trace = draw()
    for op, share in ((READ, 0.7), (WRITE, 0.2), (DELETE, 0.1)):
        error = np.sqrt(share * (1 - share) / N)
        assert np.mean(trace.op == op) == pytest.approx(share, abs=5 * error)


def test_the_rate_is_as_asked_for():
    gaps = np.diff(draw().time_s)
    assert gaps.mean() == pytest.approx(1 / 50.0, rel=5 / np.sqrt(N))
    assert stats.kstest(gaps, "expon", args=(0, 1 / 50.0)).pvalue > 1e-6


@pytest.mark.parametrize("zipf", [0.0, 0.8, 1.7])
def test_popularity_is_zipfs(zipf):
    trace = draw_trace(replace(MIX, zipf=zipf), operations=N, keys=1_000, seed=3)
    weights = np.arange(1, 1_001) ** -zipf
    expected = N * weights / weights.sum()
    often = expected >= 10
    counts = np.bincount(trace.key, minlength=1_000)
    observed = [*counts[often], counts[~often].sum() + 1e-9]
    wanted = [*expected[often], expected[~often].sum() + 1e-9]
    assert stats.chisquare(observed, wanted).pvalue > 1e-6


def test_a_key_has_one_size_and_sizes_have_the_mean():
    trace = draw_trace(replace(MIX, zipf=0.0), operations=N, keys=1_000, seed=4)
    sizes = {}
    for key, size in zip(trace.key.tolist(), trace.size.tolist(), strict=True):
        assert sizes.setdefault(key, size) == size
    assert np.mean(list(sizes.values())) == pytest.approx(300, rel=5 / np.sqrt(1_000))


def test_it_is_called_synthetic_wherever_it_goes(tmp_path: Path):
    trace = draw(operations=100)
    assert trace.synthetic
    assert trace.source == "synthetic, drawn from figures of one's own"
    write_trace(trace, tmp_path / "x.parquet")
    back = read_trace(tmp_path / "x.parquet")
    assert (back.synthetic, back.source) == (True, trace.source)


@pytest.mark.parametrize("name", TWITTER_CLUSTERS)
def test_a_cluster_is_drawn_by_its_name(name):
    recording = read_recording(f"synthetic:{name}:2000:50")
    trace = recording.trace
    assert (recording.format, len(trace), trace.synthetic) == ("synthetic", 2_000, True)
    assert trace.key.max() < 50
    assert re.search(rf"^synthetic, .* {name} .*CC BY 4\.0", trace.source)


@pytest.mark.parametrize(
    "path",
    ["synthetic:cluster1000", "synthetic", "synthetic:cluster8:many", "synthetic:cluster8:5:0"],
)
def test_a_name_that_is_none_is_refused(path):
    with pytest.raises(TraceError, match=r"synthetic|cannot be drawn"):
        read_trace(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"reads": -0.1},
        {"reads": 0.0, "writes": 0.0, "deletes": 0.0},
        {"reads": np.nan},
        {"zipf": -1.0},
        {"rate_per_s": 0.0},
        {"mean_bytes": -1.0},
    ],
)
def test_a_mix_that_is_none_is_refused(changes):
    with pytest.raises(TraceError, match="give"):
        replace(MIX, **changes)


def test_the_clusters_have_the_published_figures():
    if not STATISTICS.exists():
        pytest.skip(f"{STATISTICS.name} is not in ../shared/data beside the repository")
    rows = [
        line.split("|") for line in STATISTICS.read_text().splitlines() if "cluster" in line[:12]
    ]
    published = {row[1].strip(): row for row in rows}
    kinds = {"get": 0, "gets": 0, "delete": 2}
    for name, mix in TWITTER_CLUSTERS.items():
        row = published[name]
        shares = [0.0, 0.0, 0.0]
        for word, share in re.findall(r"(\w+):([\d.]+)", row[13]):
            shares[kinds.get(word, 1)] += float(share)
        assert [mix.reads, mix.writes, mix.deletes] == pytest.approx(shares)
        assert mix.zipf == float(row[14])
        assert mix.rate_per_s == pytest.approx(1_000 * float(row[6]))
        assert mix.mean_bytes == float(row[5])

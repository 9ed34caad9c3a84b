"""Advice on a folder is the advice on the trace that it holds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.folders import write_folder

from statecache.study.advisor import wording
from statecache.study.advisor.advice import advise
from statecache.study.advisor.curve import Policy
from statecache.study.advisor.limits import LimitError, Limits
from statecache.study.scale import advise_on_folder
from statecache.study.traces import read_trace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    n = 5_000
    rng = np.random.default_rng(3)
    table = pa.table(
        {
            "time_s": rng.uniform(0, 5_000, n),
            "key": [f"trigger-{key}" for key in rng.zipf(1.4, n) % 300],
            "op": rng.choice(["read", "write"], n, p=[0.8, 0.2]).tolist(),
            "size": rng.integers(10, 500, n),
        }
    )
    return_to = tmp_path_factory.mktemp("trace")
    table = table.set_column(0, "time_s", pa.array([*table["time_s"].to_pylist()[:-1], None]))
    write_folder(return_to, table, [1_000, 3_500], 700)
    return return_to


@pytest.mark.parametrize(
    ("limits", "policy"),
    [
        (Limits(), Policy()),
        (Limits(max_db_qps=0.5, max_memory_bytes=40_000), Policy(expiry="sliding")),
        (Limits(max_stale_share=0.02), Policy(bypass_share=0.3, seed=5)),
    ],
)
def test_it_is_the_advice_on_the_whole_trace(folder, limits, policy):
    told = []
    found, lines = advise_on_folder(
        folder, limits, policy, workers=1, on_progress=lambda *one: told.append(one)
    )
    expected = advise(read_trace(folder), limits, policy)
    assert found.ttl_s == expected.ttl_s
    assert found.feasible == expected.feasible
    assert (found.operations, found.keys) == (expected.operations, expected.keys)
    assert found.duration_s == expected.duration_s
    pd.testing.assert_frame_equal(found.choice.curve, expected.choice.curve, rtol=1e-9)
    pd.testing.assert_frame_equal(found.around, expected.around, rtol=1e-9)

    assert (found.groups, found.halves, found.adaptive) == (None, None, None)
    assert wording.halves_sentence(found) == ""
    assert "replayed in parts" in wording.groups_sentence(found)
    assert "at most" not in wording.headline(found)

    assert (lines.lines, lines.malformed) == (5_000, 1)
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_limit_without_an_answer_is_named(folder):
    with pytest.raises(LimitError, match="no write bypasses the cache"):
        advise_on_folder(folder, Limits(max_stale_share=0.01), workers=1)

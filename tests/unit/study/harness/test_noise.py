from __future__ import annotations

import pandas as pd
import pytest

from statecache.study.harness.noise import noise_floor, noise_sentence


def cells(second: list[float]) -> pd.DataFrame:
    first = [100.0, 110.0, 90.0]
    return pd.DataFrame(
        {
            "cell": ["a"] * 3 + ["a (again)"] * 3 + ["b"] * 3,
            "block": [0, 1, 2] * 3,
            "throughput_ops_s": [*first, *second, 1.0, 2.0, 3.0],
        }
    )


def test_a_condition_is_compared_with_itself_block_by_block() -> None:
    floor = noise_floor(cells([110.0, 121.0, 99.0]))
    (row,) = floor.to_dict("records")
    assert (row["cell"], row["metric"], row["pairs"]) == ("a", "throughput", 3)
    assert row["ratio"] == pytest.approx(1.1)
    assert row["low"] == pytest.approx(row["high"])


def test_the_sentence_names_it_and_is_empty_without_a_second_run() -> None:
    assert noise_sentence(cells([110.0, 121.0, 99.0])).startswith("“a” against itself, 3 pairs")
    assert noise_sentence(cells([1.0, 2.0, 3.0]).query("cell == 'b'")) == ""
    assert noise_sentence(pd.DataFrame({"start": ["2013-02-04"]})) == ""

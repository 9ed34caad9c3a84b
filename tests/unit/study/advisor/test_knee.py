from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecache.study.advisor.knee import knee


def bent(ttls: np.ndarray, at: float, top: float = 0.9) -> np.ndarray:
    """Rise evenly on the logarithmic axis up to a TTL, and by little beyond it."""
    place = np.log(ttls / ttls[0]) / np.log(at / ttls[0])
    return top * np.minimum(place, 1.0) + 0.02 * np.maximum(place - 1.0, 0.0)


@given(st.floats(3, 500), st.floats(0.1, 0.9))
def test_a_curve_with_one_bend_has_its_knee_there(at: float, top: float) -> None:
    ttls = np.geomspace(1, 10_000, 97)
    found = knee(ttls, bent(ttls, at, top))
    assert found is not None
    assert ttls[found] == pytest.approx(at, rel=0.12), "a step of the grid is a tenth"


def test_the_knee_does_not_depend_on_where_the_grid_ends() -> None:
    short, long = np.geomspace(0.1, 10_000, 97), np.geomspace(0.001, 1_000_000, 175)
    found = []
    for ttls in (short, long):
        place = knee(ttls, 1 - np.exp(-((ttls / 200) ** 0.7)))
        assert place is not None
        found.append(ttls[place])
    assert found[0] == pytest.approx(found[1], rel=0.15), "a step of the grid"


@pytest.mark.parametrize(
    "curve",
    [lambda x: 0 * x, lambda x: x, lambda x: x**3],
    ids=["flat", "straight", "bent upwards"],
)
def test_no_bend_is_no_knee(curve) -> None:
    ttls = np.geomspace(1, 10_000, 97)
    assert knee(ttls, 0.8 * curve(np.linspace(0, 1, 97))) is None


def test_a_step_is_its_own_knee() -> None:
    ttls = np.geomspace(1, 10_000, 97)
    assert knee(ttls, np.where(ttls < 60, 0.0, 0.8)) == int(np.searchsorted(ttls, 60))

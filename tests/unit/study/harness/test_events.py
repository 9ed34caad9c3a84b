"""Which events the engine is given."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from statecache.study.errors import StudyError
from statecache.study.flights import flight_stream
from statecache.study.harness.events import EngineLoad


def test_the_events_are_departures_of_the_busiest_routes_in_their_order() -> None:
    plan = EngineLoad(triggers=5, events=200).plan(seed=3)
    stream = flight_stream(start="2013-02-04", days=7.0, looks=(), seed=3)
    busiest = set(stream["key"].value_counts().index[:5])
    wanted = stream[stream["key"].isin(busiest)][:200]
    assert plan.ids == wanted["key"].tolist()
    assert plan.values == wanted["delay_min"].tolist()
    assert set(plan.ids) <= set(EngineLoad(triggers=5).loaded_ids)


def test_a_week_that_has_fewer_routes_or_events_is_refused() -> None:
    with pytest.raises(StudyError, match="triggers"):
        EngineLoad(triggers=10_000).plan(seed=1)
    with pytest.raises(StudyError, match="events"):
        EngineLoad(triggers=1, events=100_000).plan(seed=1)


def test_events_of_a_recorded_stream_are_the_accesses_of_its_busiest_keys(tmp_path: Path) -> None:
    path = tmp_path / "stream.parquet"
    columns = {"time_s": [0.0, 1.0, 4.0, 9.0, 9.5], "key": list("abaab"), "op": ["read"] * 5}
    pd.DataFrame(columns).to_parquet(path)
    load = EngineLoad(triggers=1, events=3, trace=str(path))
    assert load.loaded_ids == ["a"]
    plan = load.plan(seed=1)
    assert (plan.ids, plan.values) == (["a", "a", "a"], [0.0, 4.0, 5.0])
    with pytest.raises(StudyError, match="the recorded stream has 2 triggers, not 3"):
        EngineLoad(triggers=3, events=3, trace=str(path)).plan(seed=1)

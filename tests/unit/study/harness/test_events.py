"""Which events the engine is given."""

from __future__ import annotations

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
    assert plan.delays_min == wanted["delay_min"].tolist()
    assert set(plan.ids) <= set(EngineLoad(triggers=5).loaded_ids)


def test_a_week_that_has_fewer_routes_or_events_is_refused() -> None:
    with pytest.raises(StudyError, match="routes"):
        EngineLoad(triggers=10_000).plan(seed=1)
    with pytest.raises(StudyError, match="events"):
        EngineLoad(triggers=1, events=100_000).plan(seed=1)

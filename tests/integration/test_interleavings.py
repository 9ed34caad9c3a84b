"""Every order in which the steps of the small protocol can come, on the real servers."""

from __future__ import annotations

from collections.abc import Iterator
from math import factorial, prod

import pytest
from support.cache_server import CacheServer
from support.protocol import BEGINNINGS, STEPS, Lane, Protocol, open_protocol, orders
from support.sabotage import DROP_VERSION_CHECK, sabotaged_scripts
from support.scratch import Scratch

# Far beyond what a run takes: here nothing expires and nothing is late.
PATIENT = {"ttl_secs": 3_600, "fill_deadline_ms": 600_000, "tombstone_secs": 3_600}


@pytest.fixture
def protocol(scratch: Scratch) -> Iterator[Protocol]:
    config = scratch.config(**PATIENT)
    with open_protocol(scratch.database_url, scratch.redis_url, config) as opened:
        yield opened


def lanes_of(*actors: str) -> list[Lane]:
    return [Lane(f"{number}", order) for number, order in enumerate(orders(actors))]


def failures(lanes: list[Lane]) -> str:
    wrong = [text for lane in lanes for text in lane.wrong]
    return "\n".join([f"{len(wrong)} wrong in {len(lanes)} orders", *wrong[:5]]) if wrong else ""


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_two_writers_a_deleter_and_a_slow_reader(protocol: Protocol, begin: str) -> None:
    actors = ("writer", "other writer", "deleter", "reader")
    lanes = lanes_of(*actors)
    steps = [len(STEPS[actor]) for actor in actors]
    assert len(lanes) == factorial(sum(steps)) / prod(map(factorial, steps)) == 7_560
    hits = protocol.run(lanes, begin)
    assert not failures(lanes)
    assert hits, "or this shows nothing of the cache"


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_a_write_that_the_cache_did_not_take_is_fenced(protocol: Protocol, begin: str) -> None:
    lanes = lanes_of("writer", "unlucky writer", "deleter", "reader")
    assert len(lanes) == 7_560
    protocol.run(lanes, begin)
    assert not failures(lanes)


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_a_writer_a_deleter_a_slow_reader_and_a_cache_that_loses_all(
    scratch: Scratch, begin: str
) -> None:
    lanes = lanes_of("writer", "deleter", "reader", "loss")
    assert len(lanes) == 1_680
    config = scratch.config(**PATIENT)
    with (
        CacheServer() as server,
        open_protocol(scratch.database_url, server.url, config) as protocol,
    ):
        for lane in lanes:  # one by one, since the loss hits them all
            protocol.run([lane], begin)
    assert not failures(lanes)


def test_without_the_version_check_orders_go_wrong(protocol: Protocol) -> None:
    lanes = lanes_of("writer", "other writer", "reader")
    with sabotaged_scripts(*DROP_VERSION_CHECK):
        protocol.run(lanes, "present")
    assert "the cache holds" in failures(lanes)
    assert "the cache answers" in "".join(text for lane in lanes for text in lane.wrong)

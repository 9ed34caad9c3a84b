"""Every order in which the steps of the small protocol can come, on the real servers."""

from __future__ import annotations

from collections.abc import Iterator
from math import factorial, prod

import pytest
from support.cache_server import CacheServer
from support.protocol import BEGINNINGS, STEPS, Lane, Protocol, by_loss, open_protocol, orders
from support.sabotage import DROP_VERSION_CHECK, sabotaged_scripts
from support.scratch import Scratch

# Far beyond what a run takes: here nothing expires and nothing is late.
PATIENT = {
    "ttl_secs": 3_600,
    "fill_deadline_ms": 600_000,
    "tombstone_secs": 3_600,
    "timeout_ms": 20_000,
}


@pytest.fixture
def protocol(scratch: Scratch) -> Iterator[Protocol]:
    config = scratch.config(**PATIENT)
    with open_protocol(scratch.database_url, scratch.redis_url, config) as opened:
        yield opened


def lanes_of(*actors: str) -> list[Lane]:
    return [Lane(f"{number}", order) for number, order in enumerate(orders(actors))]


def fail_if_wrong(lanes: list[Lane]) -> None:
    wrong = [text for lane in lanes for text in lane.wrong]
    if wrong:
        pytest.fail("\n".join([f"{len(wrong)} wrong in {len(lanes)} orders", *wrong[:5]]), False)


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_two_writers_a_deleter_and_a_slow_reader(protocol: Protocol, begin: str) -> None:
    actors = ("writer", "other writer", "deleter", "reader")
    lanes = lanes_of(*actors)
    steps = [len(STEPS[actor]) for actor in actors]
    assert len(lanes) == factorial(sum(steps)) / prod(map(factorial, steps)) == 7_560
    hits = protocol.run(lanes, begin)
    fail_if_wrong(lanes)
    assert hits, "or this shows nothing of the cache"


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_a_write_that_the_cache_did_not_take_is_fenced(protocol: Protocol, begin: str) -> None:
    lanes = lanes_of("slow writer", "unlucky writer", "reader")
    assert len(lanes) == 560
    protocol.run(lanes, begin)
    fail_if_wrong(lanes)


def test_a_fence_a_slow_writer_a_deleter_and_a_slow_reader(protocol: Protocol) -> None:
    lanes = lanes_of("slow writer", "unlucky writer", "deleter", "reader")
    assert len(lanes) == 25_200
    protocol.run(lanes, "present")
    fail_if_wrong(lanes)


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_a_cache_that_loses_all_takes_nothing_from_before(scratch: Scratch, begin: str) -> None:
    lanes = lanes_of("slow writer", "deleter", "reader", "loss")
    assert len(lanes) == 5_040
    config = scratch.config(**PATIENT)
    with (
        CacheServer() as server,
        open_protocol(scratch.database_url, server.url, config) as protocol,
    ):
        for group in by_loss(lanes):
            protocol.run(group, begin)
    fail_if_wrong(lanes)


def test_without_the_version_check_orders_go_wrong(protocol: Protocol) -> None:
    lanes = lanes_of("writer", "other writer", "reader")
    with sabotaged_scripts(*DROP_VERSION_CHECK):
        protocol.run(lanes, "present")
    wrong = "\n".join(text for lane in lanes for text in lane.wrong)
    assert "the cache holds" in wrong
    assert "the cache answers" in wrong, "not only for a while"

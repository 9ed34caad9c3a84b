"""Whatever comes in, and whatever lies in the cache: a correct state, or the documented error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.fuzz import (
    ANY_IDS,
    ANY_STATES,
    FUZZ,
    GARBAGE,
    OTHER_VALUES,
    has_header,
    is_good,
    is_good_id,
    same,
)
from support.managers import CACHED, KINDS, VARIANTS
from support.scratch import Scratch

from statecache import InvalidState, InvalidTriggerId, StateManager

LIMIT = 1 << 20

# The pool's threads draw their jitter while hypothesis makes an example, which blames a strategy.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)


@pytest.fixture(params=[*KINDS, "AsyncCachedStateManager, all"])
def manager(request: pytest.FixtureRequest, scratch: Scratch) -> Iterator[Any]:
    kind, changes = VARIANTS[request.param]
    with scratch.manager(kind, **changes) as opened:
        yield opened


@pytest.fixture(params=CACHED)
def cached(request: pytest.FixtureRequest, scratch: Scratch) -> Iterator[Any]:
    with scratch.manager(request.param, compress_min_bytes=100, max_state_bytes=9_999) as opened:
        yield opened


@pytest.fixture
def truth(scratch: Scratch) -> Iterator[StateManager]:
    """What PostgreSQL holds, past any cache."""
    with scratch.manager("StateManager") as opened:
        yield opened


def drop(scratch: Scratch, trigger_id: str) -> None:
    scratch.cache.delete(scratch.prefix.encode() + trigger_id.encode())


def loads_everywhere(manager: Any, truth: StateManager, scratch: Scratch, name: str) -> Any:
    """Load as a hit if there is one, as a miss and past the cache; return the one answer."""
    hit = manager.load_state(name)
    drop(scratch, name)
    miss = manager.load_state(name)
    again = manager.load_state(name)
    exact = truth.load_state(name)
    # As texts: 1 == True == 1.0 in Python.
    assert repr(hit) == repr(miss) == repr(again) == repr(exact)
    return hit


# What comes in


def test_any_id_and_state_survive_or_are_refused(
    manager: Any, truth: StateManager, scratch: Scratch
) -> None:
    @settings(FUZZ, max_examples=60)
    @given(ANY_IDS, ANY_STATES)
    @example("jsonb orders keys and writes numbers out", {"bb": 1e16, "a": [1e-7, -0.0]})
    def holds(trigger_id: str, state: Any) -> None:
        if not is_good_id(trigger_id):
            for call in (
                lambda: manager.update_state(trigger_id, 1),
                lambda: manager.load_state(trigger_id),
                lambda: manager.delete_state(trigger_id),
            ):
                with pytest.raises(InvalidTriggerId):
                    call()
        elif state is None or not is_good(state):
            manager.update_state(trigger_id, "before")
            with pytest.raises(InvalidState):
                manager.update_state(trigger_id, state)
            assert loads_everywhere(manager, truth, scratch, trigger_id) == "before"
        else:
            manager.update_state(trigger_id, state)
            assert same(loads_everywhere(manager, truth, scratch, trigger_id), state)
            manager.delete_state(trigger_id)
            assert loads_everywhere(manager, truth, scratch, trigger_id) is None

    holds()


def test_ids_never_get_into_each_other_s_way(manager: Any, scratch: Scratch) -> None:
    @FUZZ
    @given(st.dictionaries(ANY_IDS.filter(is_good_id), st.integers(0, 9), max_size=12))
    def holds(states: dict[str, int]) -> None:
        for name, state in states.items():
            manager.update_state(name, state)
        assert {name: manager.load_state(name) for name in states} == states
        for name in list(states)[::2]:
            manager.delete_state(name)
        kept = dict(list(states.items())[1::2])
        found = {name: manager.load_state(name) for name in states}
        assert {name: state for name, state in found.items() if state is not None} == kept

    holds()


LARGEST: dict[str, Callable[[int], Any]] = {
    "ascii": lambda size: "x" * (size - 2),
    "two bytes": lambda size: ["é" * ((size - 4) // 2) + "x" * (size % 2)],
    "escapes": lambda size: "\x01" * ((size - 2) // 6) + "x" * ((size - 2) % 6),
    "backslashes": lambda size: {"k": "\\" * ((size - 8) // 2) + "x" * (size % 2)},
    "four bytes": lambda size: "\U0001f600" * ((size - 2) // 4) + "x" * ((size - 2) % 4),
}


def test_states_up_to_the_limit(manager: Any, truth: StateManager, scratch: Scratch) -> None:
    for name, make in LARGEST.items():
        state = make(LIMIT)
        assert len(json.dumps(state, ensure_ascii=False, separators=(",", ":")).encode()) == LIMIT
        manager.update_state(name, state)
        assert loads_everywhere(manager, truth, scratch, name) == state
        with pytest.raises(InvalidState, match=f"{LIMIT} are allowed"):
            manager.update_state(name, make(LIMIT + 12))
        assert manager.load_state(name) == state


def test_states_that_postgresql_writes_at_greater_length(
    manager: Any, truth: StateManager, scratch: Scratch
) -> None:
    state = {"numbers": [1e308, -5e-324, 1.5e300] * 2_000, "keys": {str(n): n for n in range(999)}}
    manager.update_state("t", state)
    assert same(loads_everywhere(manager, truth, scratch, "t"), state)


def test_nesting(manager: Any, truth: StateManager, scratch: Scratch) -> None:
    expected: Any = "before"
    manager.update_state("t", expected)
    for depth in (100, 254, 255, 5_000, 100_000):
        listed: list[Any] = []
        keyed: dict[str, Any] = {}
        for _ in range(depth - 1):
            listed, keyed = [listed], {"k": keyed}
        for state in (listed, keyed):
            if depth <= 254:
                manager.update_state("t", state)
                expected = state
            else:
                with pytest.raises(InvalidState):
                    manager.update_state("t", state)
            assert loads_everywhere(manager, truth, scratch, "t") == expected


# What lies in the cache


def use(manager: Any, truth: StateManager, name: str) -> None:
    """Write, read and delete, each with its right answer, whatever the cache holds."""
    manager.update_state(name, {"written": 1})
    assert manager.load_state(name) == truth.load_state(name) == {"written": 1}
    manager.delete_state(name)
    assert manager.load_state(name) is truth.load_state(name) is None


def test_bytes_under_our_keys(cached: Any, truth: StateManager, scratch: Scratch) -> None:
    key = scratch.prefix + "t"

    @settings(FUZZ, max_examples=80)
    @given(GARBAGE)
    def holds(raw: bytes) -> None:
        cached.update_state("t", "truth")
        scratch.cache.set(key, raw)
        assert cached.load_state("t") == "truth"
        assert cached.load_state("t") == "truth"
        scratch.cache.set(key, raw)
        hits = cached.get_cache_stats().hits
        use(cached, truth, "t")
        if not has_header(raw):
            assert cached.get_cache_stats().hits == hits + 1, "junk is never newest"
        scratch.cache.set(key, raw)
        assert cached.load_state("t") is None

    holds()
    assert cached.get_cache_stats().errors == 0


def test_damaged_entries(cached: Any, truth: StateManager, scratch: Scratch) -> None:
    """Entries of ours, cut short at every byte, or with one byte of the header changed."""
    key = scratch.prefix + "t"
    cached.update_state("t", {"n": 1, "s": "é"})
    entry: bytes = scratch.cache.get(key)

    @FUZZ
    @given(st.integers(0, len(entry) - 1), st.integers(0, 27), st.binary(min_size=1, max_size=1))
    def holds(cut: int, place: int, byte: bytes) -> None:
        changed = entry[:place] + byte + entry[place + 1 :]
        for raw in (entry[:cut], changed):
            # A changed digit of the version is a forgery: the state is still the true one.
            scratch.cache.set(key, raw)
            assert cached.load_state("t") == {"n": 1, "s": "é"}

    holds()
    scratch.cache.set(key, entry[:-1])
    use(cached, truth, "t")


def test_values_of_other_types(cached: Any, truth: StateManager, scratch: Scratch) -> None:
    key = scratch.prefix + "t"
    for put in OTHER_VALUES.values():
        cached.update_state("t", "truth")
        replace(scratch.cache, key, put)
        assert cached.load_state("t") == "truth"
        hits = cached.get_cache_stats().hits
        assert cached.load_state("t") == "truth"
        assert cached.get_cache_stats().hits == hits + 1, "the read has repaired it"
        replace(scratch.cache, key, put)
        use(cached, truth, "t")
        replace(scratch.cache, key, put)
        cached.delete_state("t")
        assert cached.load_state("t") is None
        replace(scratch.cache, key, put)
        assert cached.load_state("t") is None
    assert cached.get_cache_stats().errors == 0


def replace(cache: redis.Redis, key: str, put: Callable[[redis.Redis, str], None]) -> None:
    cache.delete(key)
    put(cache, key)


# Everything in any order

NAMES = st.sampled_from(["a", "b", "é"])
UPDATES = st.tuples(st.just("update"), NAMES, st.integers(0, 1), st.integers(0, 99))
LOADS = st.tuples(st.just("load"), NAMES, st.integers(0, 1), st.none())
STEPS = st.one_of(
    *(UPDATES, LOADS, UPDATES, LOADS, LOADS),
    st.tuples(st.just("delete"), NAMES, st.integers(0, 1), st.none()),
    st.tuples(st.just("garbage"), NAMES, st.none(), GARBAGE),
    st.tuples(st.just("wrong type"), NAMES, st.none(), st.sampled_from(list(OTHER_VALUES))),
    st.tuples(st.just("drop"), NAMES, st.none(), st.none()),
)


def test_any_sequence_reads_what_was_written_last(scratch: Scratch) -> None:
    with scratch.manager(CACHED[0]) as one, scratch.manager(CACHED[1]) as other:
        managers = (one, other)

        @FUZZ
        @given(st.lists(STEPS, min_size=10, max_size=40))
        def holds(steps: list[tuple[str, str, Any, Any]]) -> None:
            expected: dict[str, Any] = dict.fromkeys(("a", "b", "é"), "first")
            for name in expected:
                drop(scratch, name)
                one.update_state(name, "first")
            for action, name, which, value in steps:
                if action == "update":
                    managers[which].update_state(name, value)
                    expected[name] = value
                elif action == "delete":
                    managers[which].delete_state(name)
                    expected[name] = None
                elif action == "load":
                    assert managers[which].load_state(name) == expected[name]
                else:
                    drop(scratch, name)
                    if action == "garbage":
                        scratch.cache.set(scratch.prefix + name, value)
                    elif action == "wrong type":
                        OTHER_VALUES[value](scratch.cache, scratch.prefix + name)
            for name, state in expected.items():
                assert one.load_state(name) == other.load_state(name) == state

        holds()
        assert one.get_cache_stats().hits > 50, "the cache took part"

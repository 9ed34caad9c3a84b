"""Strategies of hypothesis for what may come in and what may lie in the cache."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable
from typing import Any

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: Examples are derived from the tests themselves: a run never differs from the one before.
FUZZ = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    suppress_health_check=list(HealthCheck),
)

# What comes in

ANY_TEXT = st.text(st.characters()) | st.sampled_from(
    ["", "\0", "a\0b", "\ud800", "\udfff\ud800", "\U0010ffff", "e\u0301", "é", "{}", "*", "\n", " "]
)
GOOD_CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
GOOD_TEXT = st.text(GOOD_CHARACTERS)
#: Four fifths are ids that are to work.
ANY_IDS = st.one_of(
    *[GOOD_TEXT.filter(bool)] * 3,
    st.builds(
        lambda text, size: text * size, GOOD_CHARACTERS, st.sampled_from([64, 128, 256, 512])
    ),
    ANY_TEXT,
)
GOOD_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1e308, 5e-324, -0.0, 1e16, 1e22, 123456789012345680.0, 2**64 - 1])
    | GOOD_TEXT
)
BAD_LEAVES = (
    st.binary(max_size=3)
    | st.sampled_from([2**64, -(2**63) - 1, 10**400, math.nan, math.inf, -math.inf])
    | ANY_TEXT
    | st.dictionaries(ANY_TEXT | st.integers(), st.none(), min_size=1, max_size=1)
)


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=6)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(GOOD_TEXT, inner, max_size=6)
        ),
        max_leaves=20,
    )


GOOD_STATES = _nested(GOOD_LEAVES)
#: Two thirds are states that are to survive.
ANY_STATES = GOOD_STATES | _nested(GOOD_LEAVES) | _nested(GOOD_LEAVES | BAD_LEAVES)


def is_good_id(trigger_id: str) -> bool:
    try:
        return 1 <= len(trigger_id.encode()) <= 512 and "\0" not in trigger_id
    except UnicodeEncodeError:
        return False


def is_good_text(text: object) -> bool:
    return isinstance(text, str) and "\0" not in text and not set(text) & SURROGATES


SURROGATES = {chr(code) for code in range(0xD800, 0xE000)}


def is_good(state: Any) -> bool:
    """Whether it is JSON that jsonb can hold, worked out apart from the codec."""
    if isinstance(state, dict):
        return all(is_good_text(key) for key in state) and all(map(is_good, state.values()))
    if isinstance(state, list | tuple):
        return all(map(is_good, state))
    if isinstance(state, float):
        return math.isfinite(state)
    if isinstance(state, int):
        return -(2**63) <= state < 2**64
    return state is None or is_good_text(state)


def same(loaded: Any, stored: Any) -> bool:
    """Compare as JSON does: one kind of number, one kind of sequence."""
    if isinstance(stored, dict):
        return loaded.keys() == stored.keys() and all(same(loaded[k], stored[k]) for k in stored)
    if isinstance(stored, list | tuple):
        return (
            isinstance(loaded, list)
            and len(loaded) == len(stored)
            and all(map(same, loaded, stored))
        )
    if isinstance(stored, bool | str) or stored is None:
        return type(loaded) is type(stored) and loaded == stored
    if isinstance(stored, float):  # 1.9e16 comes back as an integer, exact in decimal only
        return not isinstance(loaded, bool) and float(loaded) == stored
    return type(loaded) in (int, float) and loaded == stored


def is_json(payload: bytes) -> bool:
    """Whether it is strict JSON; Python would also take NaN, which ``int`` refuses."""
    try:
        json.loads(payload, parse_constant=int)
    except (ValueError, RecursionError):
        return False
    return True


VERSIONS = st.integers(0, 2**64 - 1).map(lambda version: b"%016x" % version) | st.sampled_from(
    [b"0" * 16, b"7" + b"f" * 15, b"8" + b"0" * 15, b"f" * 16, b"F" * 16, b"-" * 16, b"0x" * 8]
)
NO_JSON = (
    st.binary(max_size=64).filter(lambda payload: not is_json(payload))
    | st.sampled_from([b"", b"{", b"\xff\xfe", b"NaN", b"Infinity", b"[1,]", b'"\\ud800"'])
    | st.sampled_from([b"[" * 5_000, b"\0" * 1_000, b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"x\x9c"])
)
#: An entry's kind and its time, as they should be and otherwise.
KINDS_AND_TIMES = (
    st.sampled_from([b"J019ab12c4de", b"Z019ab12c4de", b"D019ab12c4de", b"F019ab12c4de"])
    | st.sampled_from([b"F00000000000", b"Ffffffffffff", b"N", b"J0000", b"X019ab12c4de"])
    | st.binary(max_size=13)
)
#: What is packed, but no JSON: truncated, of another kind, or far more than it seems.
BOMB = zlib.compress(b"[" * (1 << 24), 9)
PACKED = st.sampled_from(
    [BOMB, zlib.compress(b"{}")[:-1], zlib.compress(b"{"), b"x\x9c", BOMB[:99]]
)
GARBAGE: st.SearchStrategy[bytes] = (
    st.binary(max_size=64)
    | st.text("0123456789abcdefJDNZF{}", max_size=50).map(str.encode)
    | st.builds(lambda *parts: b"".join(parts), VERSIONS, KINDS_AND_TIMES, NO_JSON | PACKED)
    | st.builds(lambda version, packed: version + b"Z019ab12c4de" + packed, VERSIONS, PACKED)
    | VERSIONS
).filter(lambda raw: not is_forged(raw))


def is_forged(raw: bytes) -> bool:
    """Whether it cannot be told from an entry of ours: a state, or that there is none."""
    return has_header(raw) and (raw[16:17] == b"N" or (raw[16:17] == b"J" and is_json(raw[28:])))


def has_header(raw: bytes) -> bool:
    """Whether it may count as a version, which may be newer than any true one."""
    return re.match(rb"[0-7][0-9a-f]{15}[JZNDF][0-9a-f]{11}", raw) is not None


#: What Redis may hold that is no string of ours, by how it gets there.
OTHER_VALUES: dict[str, Callable[[redis.Redis, str], Any]] = {
    "list": lambda cache, key: cache.rpush(key, "0000000000000001J019ab12c4de1", "2"),
    "hash": lambda cache, key: cache.hset(key, mapping={"a": "1"}),
    "set": lambda cache, key: cache.sadd(key, "1"),
    "sorted set": lambda cache, key: cache.zadd(key, {"1": 1.0}),
    "stream": lambda cache, key: cache.xadd(key, {"a": "1"}),
    "log": lambda cache, key: cache.pfadd(key, "1"),
    "bits": lambda cache, key: cache.setbit(key, 1_000_003, True),
    "place": lambda cache, key: cache.geoadd(key, [13.4, 52.5, "Berlin"]),
    "number": lambda cache, key: cache.incr(key),
}

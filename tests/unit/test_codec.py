from __future__ import annotations

import datetime as dt
import json
import uuid

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecache.codec import check_trigger_id, decode_state, encode_state
from statecache.errors import InvalidState, InvalidTriggerId

LIMIT = 1 << 20

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


@given(JSON.filter(lambda value: value is not None))
def test_json_survives_encoding(value: object) -> None:
    assert decode_state(encode_state(value, LIMIT)) == value


@pytest.mark.parametrize(
    "state",
    [
        None,
        float("nan"),
        {"a": [1, {"b": float("inf")}]},
        {"a": None, "b": (float("-inf"),)},
        b"bytes",
        {"set": {1, 2}},
        {1: "a key that is no string"},
        {"big": 2**64},
        {"text": "\ud800"},
        {"text": "a\0b"},
        {"a\0": 1},
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        pytest.param(object(), id="object()"),  # whose repr holds its address
    ],
    ids=repr,
)
def test_what_is_not_json_is_refused(state: object) -> None:
    with pytest.raises(InvalidState) as caught:
        encode_state(state, LIMIT)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_nesting_is_limited() -> None:
    state: list[object] = []
    for _ in range(300):
        state = [state]
    with pytest.raises(InvalidState):
        encode_state(state, LIMIT)


@pytest.mark.parametrize("text", [r"\u0000", r"a\\u0000", "null", "nan"])
def test_text_that_only_looks_suspicious_passes(text: str) -> None:
    assert decode_state(encode_state({"text": text}, LIMIT)) == {"text": text}


def test_null_inside_a_state_is_no_nan() -> None:
    assert decode_state(encode_state({"a": None, "b": [None]}, LIMIT)) == {"a": None, "b": [None]}


def test_tuples_become_lists_and_uuids_text() -> None:
    name = uuid.UUID(int=5)
    assert decode_state(encode_state((1, name), LIMIT)) == [1, str(name)]


def test_the_size_limit_counts_bytes() -> None:
    state = "é" * 10
    size = len(orjson.dumps(state))
    assert encode_state(state, size)
    with pytest.raises(InvalidState, match=f"{size} bytes"):
        encode_state(state, size - 1)


@given(TEXT.filter(lambda text: 0 < len(text.encode()) <= 512))
def test_trigger_ids(text: str) -> None:
    assert check_trigger_id(text) is text


@pytest.mark.parametrize("trigger_id", ["", "a\0", "x" * 513, "é" * 257, "\ud800", 7, None, b"x"])
def test_wrong_trigger_ids_are_refused(trigger_id: object) -> None:
    with pytest.raises(InvalidTriggerId) as caught:
        check_trigger_id(trigger_id)  # type: ignore[arg-type]
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_decoding_garbage_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode_state(b"\xff{")
    assert json.loads(encode_state({"a": 1}, LIMIT)) == {"a": 1}

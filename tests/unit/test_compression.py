from __future__ import annotations

import contextlib
import json
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecache.compression import pack, unpack

RECORDS = json.dumps([{"at": n, "delay": n % 7} for n in range(200)]).encode()


@given(st.binary(max_size=5_000), st.integers(1, 2_000))
def test_what_was_packed_comes_back(payload: bytes, min_bytes: int) -> None:
    packed, compressed = pack(payload, min_bytes)
    assert len(packed) <= len(payload)
    assert (unpack(packed, len(payload)) if compressed else packed) == payload


def test_json_becomes_much_smaller() -> None:
    packed, compressed = pack(RECORDS, 1_024)
    assert compressed
    assert len(packed) < len(RECORDS) / 4


def test_short_payloads_stay_as_they_are() -> None:
    assert pack(RECORDS, len(RECORDS))[1]
    assert pack(RECORDS, len(RECORDS) + 1) == (RECORDS, False)


def test_zero_is_off() -> None:
    assert pack(RECORDS, 0) == (RECORDS, False)
    assert pack(b"", 0) == (b"", False)


def test_what_would_not_become_smaller_stays_as_it_is() -> None:
    dense = random.Random(1).randbytes(2_000)
    assert pack(dense, 1) == (dense, False)


@pytest.mark.parametrize("spoil", [0, 1, 20, -1])
def test_a_changed_byte_is_found(spoil: int) -> None:
    packed = bytearray(pack(RECORDS, 1)[0])
    packed[spoil] ^= 0xFF
    with pytest.raises(ValueError, match="payload"):
        unpack(bytes(packed), 1 << 20)


@pytest.mark.parametrize("length", [0, 1, 2, 10, -5, -1])
def test_a_payload_cut_short_is_found(length: int) -> None:
    packed = pack(RECORDS, 1)[0]
    with pytest.raises(ValueError, match="payload"):
        unpack(packed[:length], 1 << 20)


def test_bytes_that_follow_are_found() -> None:
    with pytest.raises(ValueError, match="does not end"):
        unpack(pack(RECORDS, 1)[0] + b"x", 1 << 20)


@given(st.binary(max_size=200))
def test_junk_is_a_value_error_or_is_some_payload(junk: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert len(unpack(junk, 1_000)) <= 1_000


def test_the_limit_is_exact() -> None:
    packed = pack(RECORDS, 1)[0]
    assert unpack(packed, len(RECORDS)) == RECORDS
    with pytest.raises(ValueError, match=f"more than {len(RECORDS) - 1} bytes"):
        unpack(packed, len(RECORDS) - 1)


def test_a_decompression_bomb_is_refused_before_it_takes_memory() -> None:
    bomb = zlib.compress(bytes(64 << 20), 9)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than"):
            unpack(bomb, 1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20

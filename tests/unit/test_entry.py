from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from statecache.entry import STATE, TOMBSTONE, Entry, format_entry, parse_entry

VERSIONS = st.integers(1, 2**63 - 1)


@given(VERSIONS, st.sampled_from([STATE, TOMBSTONE]), st.binary())
def test_an_entry_survives_formatting(version: int, kind: bytes, payload: bytes) -> None:
    assert parse_entry(format_entry(version, kind, payload)) == Entry(version, kind, payload)


@given(VERSIONS, VERSIONS)
def test_versions_compare_as_text(one: int, other: int) -> None:
    texts = [format_entry(version, STATE)[:16] for version in (one, other)]
    assert (texts[0] < texts[1]) == (one < other)


@given(st.binary(max_size=40))
def test_junk_is_no_entry_or_formats_back(raw: bytes) -> None:
    entry = parse_entry(raw)
    assert entry is None or format_entry(*entry) == raw


def test_near_misses_are_no_entries() -> None:
    for raw in (b"", b"0" * 16, b"0" * 15 + b"J", b"00000000000000GGJ{}", b"000000000000000AJ{}"):
        assert parse_entry(raw) is None
    assert parse_entry(b"000000000000000aX{}") is None

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from statecache.entry import FENCE, NONE, PACKED, STATE, TOMBSTONE, Entry, format_head, parse_entry

VERSIONS = st.integers(0, 2**63 - 1)
KINDS = st.sampled_from([STATE, PACKED, NONE, TOMBSTONE, FENCE])
TIMES = st.integers(0, 2**44 - 1)


@given(VERSIONS, KINDS, TIMES, st.binary())
def test_an_entry_survives_formatting(
    version: int, kind: bytes, time_ms: int, payload: bytes
) -> None:
    raw = format_head(version, kind) + b"%011x" % time_ms + payload
    assert parse_entry(raw) == Entry(version, kind, time_ms, payload)


@given(VERSIONS, VERSIONS)
def test_versions_compare_as_text(one: int, other: int) -> None:
    texts = [format_head(version, STATE)[:16] for version in (one, other)]
    assert (texts[0] < texts[1]) == (one < other)


@given(st.binary(max_size=40))
def test_junk_is_no_entry_or_formats_back(raw: bytes) -> None:
    entry = parse_entry(raw)
    if entry is not None:
        version, kind, time_ms, payload = entry
        assert format_head(version, kind) + b"%011x" % time_ms + payload == raw


def test_near_misses_are_no_entries() -> None:
    version, time = b"000000000000000a", b"019ab12c4de"
    assert parse_entry(version + b"J" + time + b"{}") is not None
    for raw in (
        b"",
        version,
        version + b"J",
        version + b"J" + time[1:],
        version + b"X" + time + b"{}",
        b"000000000000000A" + b"J" + time + b"{}",
        b"8" + version[1:] + b"J" + time + b"{}",
        version + b"J" + b"019ab12c4dg" + b"{}",
    ):
        assert parse_entry(raw) is None

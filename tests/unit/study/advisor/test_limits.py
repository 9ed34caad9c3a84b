from __future__ import annotations

import pytest

from statecache.study.advisor.limits import (
    LimitError,
    Limits,
    parse_bytes,
    parse_share,
    parse_staleness,
)


@pytest.mark.parametrize(("text", "share"), [("80%", 0.8), ("0.8", 0.8), (" 1 % ", 0.01)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text, "min-hit-rate") == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("1%", {"max_stale_share": 0.01}),
        ("30s", {"max_stale_s": 30}),
        ("1.5 min", {"max_stale_s": 90}),
        ("500ms", {"max_stale_s": 0.5}),
        ("2h", {"max_stale_s": 7_200}),
    ],
)
def test_staleness_is_a_share_or_a_time(text: str, limit: dict[str, float]) -> None:
    assert parse_staleness(text) == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2e9), ("512MiB", 512 * 1024**2), ("100", 100), ("1.5KB", 1_500)]
)
def test_bytes(text: str, size: float) -> None:
    assert parse_bytes(text, "max-memory") == size


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (lambda text: parse_share(text, "min-hit-rate"), "80s"),
        (lambda text: parse_share(text, "min-hit-rate"), "80"),
        (lambda text: parse_share(text, "min-hit-rate"), "often"),
        (parse_staleness, "30"),
        (parse_staleness, "30 parsecs"),
        (parse_staleness, "120%"),
        (parse_staleness, "-1s"),
        (lambda text: parse_bytes(text, "max-memory"), "2 gigs"),
        (lambda text: parse_bytes(text, "max-memory"), "1e400"),
    ],
)
def test_what_means_nothing_is_refused_with_what_to_give(parse, text: str) -> None:
    if text == "1e400":
        with pytest.raises(LimitError, match="give"):
            Limits(max_memory_bytes=parse(text))
        return
    with pytest.raises(LimitError, match="give"):
        parse(text)


@pytest.mark.parametrize(
    "limit", [{"min_hit_rate": 1.1}, {"max_db_qps": -1.0}, {"max_stale_s": float("nan")}]
)
def test_a_limit_out_of_range_is_refused(limit: dict[str, float]) -> None:
    with pytest.raises(LimitError, match="give"):
        Limits(**limit)

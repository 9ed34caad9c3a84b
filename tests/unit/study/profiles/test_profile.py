from __future__ import annotations

import pytest

from statecache.study.profiles import PROFILES, Profile, ProfileError, parse_profile


def test_profiles_are_found_by_their_name() -> None:
    assert list(PROFILES) == ["loopback", "documented", "same-zone", "cross-zone"]
    for name, profile in PROFILES.items():
        assert parse_profile(name) is profile
        assert profile.name == name
        assert profile.basis


def test_loopback_adds_nothing_and_documented_leaves_the_cache_where_it_is() -> None:
    assert PROFILES["loopback"].legs == {"database": 0.0, "cache": 0.0}
    assert PROFILES["documented"].legs == {"database": 2.4, "cache": 0.0}


@pytest.mark.parametrize(
    ("text", "name", "database_ms", "cache_ms"),
    [
        ("database=2.4,cache=0.3", "database=2.4,cache=0.3", 2.4, 0.3),
        (" cache = .3 , database = 2.40 ", "database=2.4,cache=0.3", 2.4, 0.3),
        ("cache=1", "database=0,cache=1", 0.0, 1.0),
        ("database=100", "database=100,cache=0", 100.0, 0.0),
    ],
)
def test_ones_own_has_one_name_however_it_is_written(
    text: str, name: str, database_ms: float, cache_ms: float
) -> None:
    own = parse_profile(text)
    assert (own.name, own.database_ms, own.cache_ms) == (name, database_ms, cache_ms)
    assert parse_profile(own.name) == own


def test_one_that_adds_nothing_is_loopback() -> None:
    assert parse_profile("database=0,cache=0") is PROFILES["loopback"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("same-zon", "did you mean 'same-zone'?"),
        ("", "choose from loopback, documented, same-zone, cross-zone, or give"),
        ("moon", "such as database=2.4,cache=0.3."),
        ("database=2.4;cache=1", "choose from"),
        ("database=2.4,cache", "understood at 'cache'"),
        ("database=2.4,", "understood at ''"),
        ("redis=1", "understood at 'redis=1'"),
        ("cache=1,cache=2", "understood at 'cache=2'"),
        ("cache=nan", "understood at 'cache=nan'"),
        ("cache=1_0", "understood at 'cache=1_0'"),
        ("cache=1ms", "understood at 'cache=1ms'"),
        ("cache=-1", "adds -1 ms to the cache leg: give from 0 to 100 ms."),
        ("database=100.5", "adds 100.5 ms to the database leg: give from 0 to 100 ms."),
    ],
)
def test_what_is_not_understood_is_said_with_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text)
    message = str(caught.value)
    assert says in message
    assert message.endswith((".", "?"))
    assert "\n" not in message


@pytest.mark.parametrize("wrong", [-0.1, 100.1, float("nan"), float("inf")])
def test_a_profile_cannot_be_made_wrong(wrong: float) -> None:
    with pytest.raises(ProfileError, match="give from 0 to 100 ms"):
        Profile("mine", wrong, 0.0)
    with pytest.raises(ProfileError, match="give from 0 to 100 ms"):
        Profile("mine", 0.0, wrong)

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

import pytest
import redis.sentinel

from statecache import CacheConfig, CachedStateManager, ConfigError, StateManager, init_db
from statecache.config import url_from_env


def test_defaults_are_the_documented_ones() -> None:
    config = CacheConfig.from_env({})
    assert (config.enabled, config.ttl_secs, config.key_prefix) == (True, 300.0, "trigger:state:")


def test_every_field_has_a_variable() -> None:
    config = CacheConfig.from_env(
        {
            "STATE_CACHE_ENABLED": "false",
            "STATE_CACHE_TTL_SECS": "0.25",
            "STATE_CACHE_TIMEOUT_MS": "20",
            "STATE_CACHE_KEY_PREFIX": "other:",
            "STATE_CACHE_SCHEMA": "events",
            "STATE_CACHE_MAX_STATE_BYTES": "1000",
            "STATE_CACHE_FILL_DEADLINE_MS": "100",
            "STATE_CACHE_TOMBSTONE_SECS": "5",
            "STATE_CACHE_BREAKER_THRESHOLD": "3",
            "STATE_CACHE_BREAKER_MAX_WAIT_MS": "500",
            "STATE_CACHE_POOL_SIZE": "4",
            "UNRELATED": "x",
        }
    )
    assert config == CacheConfig(
        enabled=False,
        ttl_secs=0.25,
        timeout_ms=20,
        key_prefix="other:",
        schema="events",
        max_state_bytes=1000,
        fill_deadline_ms=100,
        tombstone_secs=5.0,
        breaker_threshold=3,
        breaker_max_wait_ms=500,
        pool_size=4,
    )
    assert config.ttl_ms == 250


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("STATE_CACHE_ENABLED", "maybe"),
        ("STATE_CACHE_TTL_SECS", "five minutes"),
        ("STATE_CACHE_TTL_SECS", "0"),
        ("STATE_CACHE_TTL_SECS", "-1"),
        ("STATE_CACHE_TTL_SECS", "nan"),
        ("STATE_CACHE_TTL_SECS", "inf"),
        ("STATE_CACHE_TIMEOUT_MS", "1.5"),
        ("STATE_CACHE_SCHEMA", "Robert'); DROP TABLE"),
        ("STATE_CACHE_KEY_PREFIX", ""),
        ("STATE_CACHE_POOL_SIZE", "0"),
        ("STATE_CACHE_TOMBSTONE_SECS", "1"),
    ],
)
def test_a_bad_value_names_variable_and_value(variable: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CacheConfig.from_env({variable: value})
    assert variable in str(caught.value)
    assert value in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_misspelt_variable_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "statecache"):
        CacheConfig.from_env({"STATE_CACHE_TTL_SEC": "5"})
    assert "did you mean STATE_CACHE_TTL_SECS" in caplog.text


def test_a_fill_never_outlives_what_outdates_it() -> None:
    assert CacheConfig(ttl_secs=1.0).effective_fill_deadline_ms == 500
    assert CacheConfig(ttl_secs=3600).effective_fill_deadline_ms == 5000


def test_missing_addresses_are_named() -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL is not set"):
        url_from_env("DATABASE_URL", {})
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        StateManager.from_env({})
    with pytest.raises(ConfigError, match="REDIS_URL"):
        CachedStateManager.from_env({"DATABASE_URL": "postgresql://127.0.0.1/x"})


@pytest.mark.parametrize(
    "environ",
    [
        {"DATABASE_URL": "mysql://me:secret@127.0.0.1/x", "REDIS_URL": "redis://127.0.0.1"},
        {"DATABASE_URL": "postgresql://127.0.0.1/x", "REDIS_URL": "http://me:secret@127.0.0.1"},
    ],
)
def test_a_wrong_address_is_refused_without_its_password(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        CachedStateManager.from_env(environ)
    assert "secret" not in str(caught.value)


def test_a_client_of_the_wrong_kind_is_refused() -> None:
    pool: Any = None
    with pytest.raises(ConfigError, match=r"pass a redis\.Redis"):
        CachedStateManager(pool, None)


def test_a_number_given_as_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="ttl_secs is '300'"):
        CacheConfig(ttl_secs="300")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"enabled": "false"}, "enabled is 'false': take true or false."),
        ({"gather": None}, "gather is None: take true or false."),
        (
            {"memory_items": 1.5},
            "memory_items is 1.5: take a whole number from 0 to 100000000.",
        ),
        ({"pool_size": True}, "pool_size is True: take a whole number from 1 to 10000."),
        ({"ttl_jitter": "0"}, "ttl_jitter is '0': take a number from 0 to 0.9."),
        ({"schema": 7}, "schema is 7: take a text."),
        ({"key_prefix": b"p:"}, "key_prefix is b'p:': take a text."),
        ({"ttl_min_secs": 5, "ttl_max_secs": 4}, "ttl_max_secs is 4: take a number from 5 to"),
        ({"key_prefix": "a\0b"}, r"key_prefix is 'a\x00b': take 1 to 256 bytes"),
        ({"key_prefix": "\ud800"}, r"key_prefix is '\ud800': take 1 to 256 bytes"),
        ({"key_prefix": "ü" * 129}, "take 1 to 256 bytes"),
    ],
)
def test_a_value_of_another_type_or_form_is_refused(changes: Any, refusal: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CacheConfig(**changes)
    assert refusal in str(caught.value)


def test_every_number_has_limits() -> None:
    for field in fields(CacheConfig):
        if field.type in ("int", "float"):
            for value in (float("inf"), 1 << 70):
                with pytest.raises(ConfigError, match=f"{field.name} is .*: take a .* from "):
                    CacheConfig(**{field.name: value})


@pytest.mark.parametrize(
    "url", ["postgres:/app:s3cret@db/events", "postgresql://app:s3/cret@127.0.0.1/x"]
)
def test_a_misread_address_is_refused_before_a_driver_can_quote_it(url: str) -> None:
    for make in (
        lambda: init_db(url),
        lambda: StateManager.from_env({"DATABASE_URL": url}),
    ):
        with pytest.raises(ConfigError) as caught:
            make()
        assert "s3" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_sentinel_s_client_is_refused() -> None:
    pool: Any = None
    client = redis.sentinel.Sentinel([("127.0.0.1", 1)]).master_for("m")
    with pytest.raises(ConfigError, match="SentinelManagedConnection"):
        CachedStateManager(pool, client)

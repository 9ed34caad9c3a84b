from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from statecache.study.profiles import ProfileError
from statecache.study.profiles.addresses import (
    cache_address,
    database_address,
    database_url_behind,
)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://u:p@127.0.0.1:5433/db", ("127.0.0.1", 5433)),
        ("postgresql://u:p@db.example/db", ("db.example", 5432)),
        ("postgresql://u@[::1]:5433/db", ("::1", 5433)),
        ("postgresql://u@db.example/db?hostaddr=10.0.0.7", ("10.0.0.7", 5432)),
        ("host=db.example port=5433 user=u", ("db.example", 5433)),
    ],
)
def test_a_database_is_found(url: str, address: tuple[str, int]) -> None:
    assert database_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cret@/db",
        "postgresql://u:s3cret@/db?host=/run/postgresql",
        "postgresql://u:s3cret@one,two/db",
        "postgresql://u:s3cret@one:1,two:2/db",
    ],
)
def test_a_database_that_is_not_one_tcp_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ProfileError, match=r"^A deployment profile .*DATABASE_URL.*\.$") as caught:
        database_address(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://:p@127.0.0.1:6380/0", ("127.0.0.1", 6380)),
        ("rediss://cache.example", ("cache.example", 6379)),
        ("redis://[::1]:6380", ("::1", 6380)),
    ],
)
def test_a_cache_is_found(url: str, address: tuple[str, int]) -> None:
    assert cache_address(url) == address


def test_a_cache_at_a_path_is_refused() -> None:
    with pytest.raises(ProfileError, match="REDIS_URL") as caught:
        cache_address("unix://:s3cret@/run/redis.sock")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40%2F%23ss@127.0.0.1:5432/db?sslmode=require&application_name=a%20b%2B",
        "postgresql://u:p%40ss@db.example/db?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgresql://u:p%40ss@[2001:db8::1]:5433/db?options=-c%20jit%3Doff",
        "postgres://db.example",
        "postgresql://u:p@other/db?host=db.example&port=5433",
        "host=db.example port=5433 user=u password='p @' sslmode=verify-full",
    ],
)
def test_only_the_address_changes(url: str) -> None:
    before, behind = conninfo_to_dict(url), conninfo_to_dict(database_url_behind(url, 4711))
    assert behind.pop("port") == "4711"
    assert behind.get("hostaddr", behind["host"]) == "127.0.0.1"
    behind.pop("hostaddr", None)
    before.pop("port", None)
    assert behind == before, "and the name that a certificate is checked by stays"


def test_a_url_on_loopback_stays_a_plain_url() -> None:
    url = "postgresql://statecache:p@127.0.0.1:5432/postgres"
    assert database_url_behind(url, 4711) == url.replace("5432", "4711")

"""The migration: idempotent, concurrent, and it takes over what is there."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from support.managers import open_manager

from statecache import CacheConfig, ConfigError, DatabaseError, init_db
from statecache.schema import SCHEMA_VERSION
from statecache.study.servers import Servers


class Place:
    """A schema of a name, made or not."""

    def __init__(self, servers: Servers, connection: psycopg.Connection[Any]) -> None:
        self.servers = servers
        self.connection = connection
        self.schema = f"statecache_test_{secrets.token_hex(4)}"

    def run(self, text: str) -> list[Any]:
        query = sql.SQL(text).format(  # type: ignore[arg-type]
            s=sql.Identifier(self.schema), t=sql.Identifier(self.schema, "trigger_state")
        )
        cursor = self.connection.execute(query)
        return cursor.fetchall() if cursor.description else []

    def init(self) -> int:
        return init_db(self.servers.database_url, schema=self.schema)


@pytest.fixture
def place(servers: Servers) -> Iterator[Place]:
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        made = Place(servers, connection)
        yield made
        made.run("DROP SCHEMA IF EXISTS {s} CASCADE")


def test_it_makes_schema_and_table_and_can_be_repeated(place: Place) -> None:
    assert place.init() == SCHEMA_VERSION
    place.run("INSERT INTO {t} (trigger_id, state_data) VALUES ('t', '1')")
    assert place.init() == SCHEMA_VERSION
    assert place.run("SELECT trigger_id, version > 0, deleted_at FROM {t}") == [("t", True, None)]


def test_many_processes_may_start_at_once(place: Place) -> None:
    outcomes: list[Any] = []

    def init() -> None:
        try:
            outcomes.append(place.init())
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=init) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [SCHEMA_VERSION] * 8


DOCUMENTED = [
    "trigger_id text PRIMARY KEY, state_data jsonb NOT NULL, updated_at timestamptz NOT NULL",
    "trigger_id varchar(255) PRIMARY KEY, state_data json NOT NULL, updated_at timestamp",
    "trigger_id varchar(255) NOT NULL, state_data jsonb, updated_at timestamptz, note text",
]


@pytest.mark.parametrize("columns", DOCUMENTED)
def test_it_takes_over_a_table_of_the_documented_form(place: Place, columns: str) -> None:
    place.run("CREATE SCHEMA {s}")
    place.run("CREATE TABLE {t} (" + columns + ")")
    place.run(
        "INSERT INTO {t} (trigger_id, state_data, updated_at) "
        "SELECT 't' || n, '{{\"count\": 5}}', '2020-01-01 12:00' FROM generate_series(1, 300) n"
    )
    place.init()
    assert place.run("SELECT count(*), min(version), max(version) FROM {t}") == [(300, 1, 1)]
    assert place.run("SELECT count(*) FROM {t} WHERE updated_at < '2020-01-03'") == [(300,)]
    urls = place.servers.database_url, place.servers.redis_url
    prefix = f"{place.schema}:"
    config = CacheConfig(schema=place.schema, key_prefix=prefix, timeout_ms=1000, ttl_secs=5)
    with open_manager("CachedStateManager", *urls, config) as manager:
        assert manager.load_state("t7") == {"count": 5}
        manager.update_state("t7", {"count": 6})
        manager.delete_state("t8")
        assert manager.load_state("t7") == {"count": 6}
        assert manager.get_state_count() == 299


@pytest.mark.parametrize(
    "columns",
    [
        "id int",
        "trigger_id text, state_data bytea, updated_at timestamptz",
        "trigger_id text, state_data jsonb",
    ],
)
def test_it_refuses_a_table_of_another_form_and_leaves_it_alone(place: Place, columns: str) -> None:
    place.run("CREATE SCHEMA {s}")
    place.run("CREATE TABLE {t} (" + columns + ")")
    with pytest.raises(ConfigError, match="not of the documented form"):
        place.init()
    names = place.run(
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = "
        f"'{place.schema}' AND table_name = 'trigger_state'"
    )
    assert names == [(columns.count(",") + 1,)]
    assert place.run(f"SELECT to_regclass('{place.schema}.trigger_state_schema')") == [(None,)]


def test_it_refuses_a_newer_table(place: Place) -> None:
    place.init()
    place.run("INSERT INTO {s}.trigger_state_schema (version) VALUES (99)")
    with pytest.raises(ConfigError, match="newer"):
        place.init()


def test_it_refuses_a_schema_name_that_is_none(servers: Servers) -> None:
    with pytest.raises(ConfigError, match="schema"):
        init_db(servers.database_url, schema='x"; DROP TABLE')


def test_a_database_that_is_down_is_one_sentence() -> None:
    with pytest.raises(DatabaseError) as caught:
        init_db("postgresql://me:secret@127.0.0.1:1/x")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)

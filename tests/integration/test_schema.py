"""The migration: idempotent, concurrent, and it takes over what is there."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from support.managers import KINDS, open_manager
from support.scratch import Scratch

from statecache import CacheConfig, ConfigError, DatabaseError, InvalidState, init_db
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


# Names and encodings


@pytest.mark.parametrize("name", ["excluded", "statecache_old", "statecache_done", "select"])
def test_a_schema_may_have_the_name_of_something_else(servers: Servers, name: str) -> None:
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        taken = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [name])
        assert taken.fetchone() is None, f"the schema {name} is somebody's"
        try:
            init_db(servers.database_url, schema=name, outside_writes=True)
            config = CacheConfig(schema=name, repair_poll_secs=60)
            with open_manager("StateManager", servers.database_url, "", config) as manager:
                manager.update_state("a", 1)
                manager.update_state("a", 2)
                manager.update_states({"a": 3, "b": 4})
                assert manager.load_states(["a", "b"]) == {"a": 3, "b": 4}
                manager.update_state("c", 5, expected_version=0)
                state, version = manager.load_versioned("c")
                manager.update_state("c", state + 1, expected_version=version)
                manager.delete_state("a")
                assert manager.load_state("c") == 6
                assert manager.cleanup_expired(0) == 2
                assert manager.get_state_count() == 0
                table = manager._table
                assert set(table.marked()) == {"a", "b", "c"}
                table.unmark(table.marked())
                assert table.marked() == {}
                assert table.recent(10) == []
                assert table.read(["a", "b"], settled=True).keys() == {"a", "b"}
        finally:
            connection.execute(
                sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
            )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ["latin1", "sql_ascii"])
def test_a_pool_of_another_encoding_is_refused(scratch: Scratch, kind: str, encoding: str) -> None:
    url = scratch.database_url
    url += ("&" if "?" in url else "?") + f"client_encoding={encoding}"
    with scratch.manager(kind, database_url=url) as manager:
        for call in (
            lambda: manager.load_state("ü"),
            lambda: manager.update_state("日本", {"名": "値"}),
            lambda: manager.update_states({"a": 1, "b": 2}),
            lambda: manager.delete_state("a"),
        ):
            with pytest.raises(ConfigError, match="connections have the client encoding"):
                call()
        assert manager.get_cache_stats().unrepaired == 0, "nothing was sent"


@pytest.mark.parametrize(
    ("encoding", "texts"),
    [("SQL_ASCII", ["plain", "日本 ü 😀"]), ("LATIN1", ["plain", "ü é"]), ("UTF8", ["日本 ü 😀"])],
)
@pytest.mark.parametrize("kind", ["StateManager", "AsyncCachedStateManager"])
def test_databases_of_any_encoding_work_for_what_they_can_hold(
    servers: Servers, kind: str, encoding: str, texts: list[str]
) -> None:
    name = f"statecache_test_{secrets.token_hex(4)}"
    url = urlsplit(servers.database_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL(
                "CREATE DATABASE {} ENCODING {} TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
            ).format(sql.Identifier(name), encoding)
        )
        try:
            with psycopg.connect(url) as inside:
                inside.execute(
                    "CREATE TABLE trigger_state "
                    "(trigger_id text PRIMARY KEY, state_data jsonb, updated_at timestamptz)"
                )
            assert init_db(url, outside_writes=True) == init_db(url) == SCHEMA_VERSION
            config = CacheConfig(key_prefix=f"statecache:test:{name}:", timeout_ms=1_000)
            url += "?client_encoding=utf8"
            with open_manager(kind, url, servers.redis_url, config) as manager:
                states = {text: {text: [text, "\\"]} for text in texts}
                for text, state in states.items():
                    manager.update_state(text, state)
                    assert manager.load_state(text) == state
                manager.update_states(states)
                assert manager.load_states(texts) == states
                manager.invalidate_all()
                assert manager.load_states(texts) == states
                if encoding == "LATIN1":
                    with pytest.raises(InvalidState, match="PostgreSQL cannot hold this state"):
                        manager.update_state("a", "日本")
                    with pytest.raises(InvalidState, match="PostgreSQL cannot hold this state"):
                        manager.update_states({"a": "日本", "b": 1})
                manager.delete_states(texts)
                assert manager.get_state_count() == 0
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(sql.Identifier(name)))

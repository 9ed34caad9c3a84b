from __future__ import annotations

import psycopg
import pytest
import redis
from psycopg import sql

from statecache.study.counting import CountingError, ServerCounts, count, tally
from statecache.study.servers import running_servers
from statecache.study.workspace import open_workspace


@pytest.fixture
def database(servers):
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def schemas(servers, database):
    """Two schemas with a table each; the name of one begins with the other's."""
    with open_workspace(servers, ["a", "ab"]) as workspace:
        names = [workspace.schema("a"), workspace.schema("ab")]
        for name in names:
            table = sql.Identifier(name, "trigger_state")
            database.execute(sql.SQL("CREATE TABLE {} (id text PRIMARY KEY, v int)").format(table))
        yield names


QUOTED = '"{0}"."trigger_state" AS "{0}"'
PLAIN = "{0}.trigger_state AS {0}"


def run(database, schema, times, name=QUOTED):
    table = name.format(schema)
    for i in range(times):
        key = [str(i)]
        database.execute(f"SELECT v FROM {table} WHERE id = %s", key)
        database.execute(f"INSERT INTO {table} VALUES (%s, 1)", key)
        database.execute(f"UPDATE {table} SET v = 2 WHERE id = %s", key)
        database.execute(f"DELETE FROM {table} WHERE id = %s", key)


@pytest.mark.parametrize("name", [QUOTED, PLAIN])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_statements_are_counted_by_schema(servers, database, schemas, name, order):
    before = count(servers, schemas)
    for position in order:
        run(database, schemas[position], times=2 + position, name=name)
    counted = count(servers, schemas) - before
    assert counted.statements == {schemas[0]: 8, schemas[1]: 12}


def test_a_transaction_and_the_snapshots_themselves_do_not_count(servers, database, schemas):
    before = count(servers, schemas)
    with database.transaction():
        database.execute(f"SELECT v FROM {QUOTED.format(schemas[0])}")
    for _ in range(3):
        count(servers, schemas)
    assert (count(servers, schemas) - before) == ServerCounts({schemas[0]: 1, schemas[1]: 0}, {})


def test_other_tables_and_other_schemas_do_not_count(servers, database, schemas):
    database.execute(f"CREATE TABLE {schemas[0]}.trigger_state_log (v int)")
    database.execute(f"CREATE TABLE {schemas[0]}.other (v int)")
    before = count(servers, schemas[:1])
    database.execute(f"SELECT v FROM {schemas[0]}.trigger_state_log")
    database.execute(f"SELECT v FROM {schemas[0]}.other")
    run(database, schemas[1], 1)
    assert (count(servers, schemas[:1]) - before).statements == {schemas[0]: 0}


@pytest.mark.parametrize("alias", ["", "AS held"])
def test_a_statement_that_postgresql_18_merges_with_others_is_an_error(
    servers, database, schemas, alias
):
    before = count(servers, schemas)
    database.execute(f'SELECT v FROM "{schemas[0]}"."trigger_state" {alias}')
    with pytest.raises(CountingError, match="1 statements named a trigger_state without an alias"):
        count(servers, schemas) - before


def test_what_postgresql_18_merges_is_what_the_rule_says(database, schemas):
    # If this fails, PostgreSQL has changed and counting.py can be simpler.
    database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    for schema in schemas:
        database.execute(f"SELECT v, 1, 2, 3 FROM {schema}.trigger_state")
    query = "SELECT count(*), sum(calls) FROM pg_stat_statements WHERE query LIKE %s"
    assert database.execute(query, [f"SELECT v, $1%{schemas[0]}%"]).fetchone() == (1, 2)


@pytest.mark.parametrize(
    "text",
    [
        'SELECT 1 FROM "s_x_a"."trigger_state" WHERE id = $1',
        "SELECT 1 FROM s_x_a.trigger_state",
        "INSERT INTO S_X_A.Trigger_State(id) VALUES ($1)",
        'DELETE FROM s_x_a . "trigger_state";',
        'WITH d AS (DELETE FROM "s_x_a".trigger_state RETURNING *) SELECT * FROM d',
    ],
)
def test_the_name_is_matched_exactly(text):
    assert tally([(text, 5)], ["s_x_a", "s_x", "s_x_ab"], by_name=False) == (
        {"s_x_a": 5, "s_x": 0, "s_x_ab": 0},
        0,
    )


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 FROM os_x_a.trigger_state",
        "SELECT 1 FROM s_x_a.trigger_state_log",
        'SELECT 1 FROM "s_x_a"."trigger_state_log"',
        'SELECT 1 FROM "s_x_a"".trigger_state"',
        "SELECT 1 FROM s_x_a.other",
        "SELECT 1 FROM trigger_state",
        "BEGIN",
    ],
)
def test_other_names_are_not_matched(text):
    assert tally([(text, 5)], ["s_x_a"], by_name=False) == ({"s_x_a": 0}, 0)


@pytest.mark.parametrize(
    ("text", "ambiguous"),
    [
        ("SELECT 1 FROM s_a.trigger_state AS s_a", 0),
        ('SELECT 1 FROM s_a.trigger_state AS "state of s_a"', 0),
        ("SELECT 1 FROM s_a.trigger_state AS held", 5),
        ("SELECT 1 FROM s_a.trigger_state", 5),
        ("SELECT 1 FROM s_b.trigger_state", 5),
        ("SELECT 1 FROM trigger_state", 5),
        ("SELECT 1 FROM trigger_state_log", 0),
    ],
)
def test_what_may_be_merged_is_ambiguous(text, ambiguous):
    calls, found = tally([(text, 5)], ["s_a"], by_name=True)
    assert found == ambiguous
    assert ambiguous == 0 or calls == {"s_a": 0}


def test_redis_commands_are_counted_without_the_snapshots_own(servers):
    with redis.Redis.from_url(servers.redis_url) as client:
        client.ping()
        before = count(servers, [])
        for _ in range(3):
            client.set("statecache:study:count", 1)
            client.get("statecache:study:count")
        client.delete("statecache:study:count")
        counted = count(servers, []) - before
    assert counted == ServerCounts({}, {"get": 3, "set": 3, "del": 1})
    assert (count(servers, []) - count(servers, [])).redis_commands == {}


def test_counters_that_were_reset_are_an_error(servers, database):
    before = count(servers, [])
    database.execute("SELECT pg_stat_statements_reset()")
    with pytest.raises(CountingError, match="reset"):
        count(servers, []) - before
    with redis.Redis.from_url(servers.redis_url) as client:
        client.get("x")
        before = count(servers, [])
        client.config_resetstat()
    with pytest.raises(CountingError, match="fell"):
        count(servers, []) - before


def test_snapshots_of_other_schemas_and_differences_are_refused(servers, schemas):
    one, other = count(servers, schemas[:1]), count(servers, schemas)
    with pytest.raises(CountingError, match="count the same ones"):
        other - one
    with pytest.raises(CountingError, match="subtract two snapshots"):
        (count(servers, schemas) - other) - other


def test_evicted_entries_are_an_error(servers, database, schemas):
    before = count(servers, schemas)
    database.execute("SET pg_stat_statements.track = 'all'")
    # As many different statements as it takes, each under a name of its own.
    database.execute(
        "DO $$ BEGIN FOR i IN 1..20100 LOOP "
        "EXECUTE format('SELECT 1 FROM (SELECT 1) AS evict_%s', i); END LOOP; END $$"
    )
    with pytest.raises(CountingError, match="raise pg_stat_statements"):
        count(servers, schemas) - before


def test_a_server_without_the_extension_has_no_statements(servers, database, schemas):
    database.execute("DROP EXTENSION pg_stat_statements")
    try:
        with running_servers(servers.environment()) as external:
            before = count(external, schemas)
            assert before.statements is None
            assert (count(external, schemas) - before).statements is None
    finally:
        database.execute("CREATE EXTENSION pg_stat_statements")

# ruff: noqa: PT012, SIM117 - what is tested is how a context manager takes an error
from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis

from statecache.study.servers import Servers
from statecache.study.workspace import Workspace, WorkspaceError, open_workspace


@pytest.fixture
def database(servers):
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def cache(servers):
    with redis.Redis.from_url(servers.redis_url) as client:
        yield client


def schemas(database, token):
    pattern = f"statecache_study_{token}\\_%"
    rows = database.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE %s", [pattern])
    return {name for (name,) in rows}


def test_it_makes_and_removes_its_own_and_nothing_else(servers, database, cache):
    database.execute("CREATE SCHEMA statecache_study_zz_other")
    cache.mset({"statecache:study:zz:other:1": 1, "trigger:state:1": 1})
    with open_workspace(servers, ["a", "a_b"], token="zz") as workspace:
        assert workspace.schema("a_b") == "statecache_study_zz_a_b"
        assert workspace.key_prefix("a") == "statecache:study:zz:a:"
        mine = {workspace.schema("a"), workspace.schema("a_b")}
        assert schemas(database, "zz") == {*mine, "statecache_study_zz_other"}
        database.execute("CREATE TABLE statecache_study_zz_a.trigger_state (x int)")
        cache.mset({f"{workspace.key_prefix('a_b')}{i}": i for i in range(2500)})
    assert schemas(database, "zz") == {"statecache_study_zz_other"}
    assert cache.keys("statecache:study:zz:*") == [b"statecache:study:zz:other:1"]
    assert cache.delete("statecache:study:zz:other:1", "trigger:state:1") == 2
    database.execute("DROP SCHEMA statecache_study_zz_other")


def test_tokens_are_random_and_lower_case(servers):
    with open_workspace(servers, []) as one, open_workspace(servers, []) as other:
        assert one.token != other.token
        assert one.token == one.token.lower()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, SystemExit])
def test_it_removes_after_an_error_too(servers, database, cache, error):
    with pytest.raises(error), open_workspace(servers, ["a"], token="err") as workspace:
        cache.set(workspace.key_prefix("a") + "1", 1)
        raise error
    assert not schemas(database, "err")
    assert not cache.keys("statecache:study:err:*")


def test_a_schema_that_is_there_is_refused_and_untouched(servers, database):
    database.execute("CREATE SCHEMA statecache_study_taken_b")
    database.execute("CREATE TABLE statecache_study_taken_b.kept (x int)")
    with pytest.raises(WorkspaceError, match=r'schema "statecache_study_taken_b" already exists'):
        with open_workspace(servers, ["a", "b"], token="taken"):
            pytest.fail("it went on")
    assert schemas(database, "taken") == {"statecache_study_taken_b"}
    database.execute("SELECT * FROM statecache_study_taken_b.kept")
    database.execute("DROP SCHEMA statecache_study_taken_b CASCADE")


def test_a_key_that_is_there_is_refused_and_untouched(servers, database, cache):
    cache.set("statecache:study:full:a:1", "kept")
    with pytest.raises(WorkspaceError, match="statecache:study:full:a:1"):
        with open_workspace(servers, ["a"], token="full"):
            pytest.fail("it went on")
    assert cache.getdel("statecache:study:full:a:1") == b"kept"
    assert not schemas(database, "full")


@pytest.mark.parametrize(
    ("token", "variants"),
    [("t", ["A"]), ("t", ["a-b"]), ("t", [""]), ("t", ["a" * 45]), ("t", ["a", "a"])]
    + [(token, ["a"]) for token in ("", "T", "a_b", "a*", "a:b", "t" * 21)],
)
def test_names_that_cannot_be_are_refused(token, variants):
    with pytest.raises(WorkspaceError):
        Workspace(token, tuple(variants))


def test_the_longest_name_is_used_whole(servers, database):
    with open_workspace(servers, ["v" * 44], token="t") as workspace:
        assert len(workspace.schema("v" * 44)) == 63
        assert schemas(database, "t") == {workspace.schema("v" * 44)}


def test_a_foreign_variant_is_refused(servers):
    with open_workspace(servers, ["a"]) as workspace:
        for name in (workspace.schema, workspace.key_prefix):
            with pytest.raises(WorkspaceError, match="'b' is no variant"):
                name("b")


def test_a_role_that_may_not_create_is_told_so_in_one_sentence(servers, database):
    database.execute("CREATE ROLE reader LOGIN PASSWORD 'reader-password'")
    address = urlsplit(servers.database_url)
    host = f"reader:reader-password@{address.hostname}:{address.port}"
    url = urlunsplit(address._replace(netloc=host))
    try:
        with pytest.raises(WorkspaceError, match="permission denied for database") as caught:
            with open_workspace(Servers(url, servers.redis_url, embedded=False), ["a"]):
                pytest.fail("it went on")
    finally:
        database.execute("DROP ROLE reader")
    assert "reader-password" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dead", ["database_url", "redis_url"])
def test_a_failed_removal_is_told_and_never_hides_the_error(servers, database, cache, dead):
    held = Servers(servers.database_url, servers.redis_url, embedded=True)
    nowhere = {"database_url": "postgresql://127.0.0.1:1/x", "redis_url": "redis://127.0.0.1:1"}
    with pytest.raises(ZeroDivisionError) as caught, open_workspace(held, ["a"], token="gone"):
        cache.set("statecache:study:gone:a:1", 1)
        object.__setattr__(held, dead, nowhere[dead])
        raise ZeroDivisionError
    (note,) = caught.value.__notes__
    assert "could not be removed" in note
    # What still answers has been cleaned all the same.
    assert bool(schemas(database, "gone")) == (dead == "database_url")
    assert bool(cache.exists("statecache:study:gone:a:1")) == (dead == "redis_url")
    database.execute("DROP SCHEMA IF EXISTS statecache_study_gone_a")
    cache.delete("statecache:study:gone:a:1")


def test_a_failed_removal_alone_is_an_error(servers, database):
    held = Servers(servers.database_url, servers.redis_url, embedded=True)
    with pytest.raises(WorkspaceError, match="statecache_study_alone_a could not be removed"):
        with open_workspace(held, ["a"], token="alone"):
            object.__setattr__(held, "database_url", "postgresql://127.0.0.1:1/x")
    database.execute("DROP SCHEMA statecache_study_alone_a")


def test_an_interrupted_process_removes_its_own(servers, database):
    script = """
import os, signal
from statecache.study.servers import Servers
from statecache.study.workspace import open_workspace
servers = Servers(os.environ["DATABASE_URL"], os.environ["REDIS_URL"], embedded=False)
with open_workspace(servers, ["a"], token="ctrlc"):
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | servers.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "KeyboardInterrupt" in done.stderr
    assert not schemas(database, "ctrlc")

"""Servers that only the tests of this folder use, to be killed and stopped."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import psycopg
import pytest
import redis
from support.scratch import Scratch

from statecache import init_db
from statecache.study.troubles.own_servers import OwnServers, own_servers


@pytest.fixture(scope="package")
def own() -> Iterator[OwnServers]:
    """Servers that nobody else uses: killing them is safe."""
    with own_servers() as running:
        yield running


@pytest.fixture
def corner(own: OwnServers) -> Iterator[Scratch]:
    """A schema and a prefix there, which go when the servers go."""
    token = secrets.token_hex(4)
    servers = own.servers
    init_db(servers.database_url, schema=f"test_{token}")
    with (
        psycopg.connect(servers.database_url, autocommit=True) as database,
        redis.Redis.from_url(servers.redis_url) as cache,
    ):
        yield Scratch(
            servers.database_url,
            servers.redis_url,
            f"test_{token}",
            f"test:{token}:",
            database,
            cache,
        )

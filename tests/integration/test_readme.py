"""The documents' examples run as they stand, apart from the addresses."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg.conninfo import make_conninfo
from support.scratch import Scratch

from statecache import VersionConflict
from statecache.study.servers import Servers

README = Path(__file__).parents[2] / "README.md"


def test_the_example_of_the_library(servers: Servers) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    database = f"statecache_test_{secrets.token_hex(4)}"
    address = make_conninfo(servers.database_url, dbname=database)
    code = code.replace('"postgresql://…"', repr(address))
    code = code.replace("redis.Redis()", f"redis.Redis.from_url({servers.redis_url!r})")
    code = code.replace(
        'manager.load_state("trigger_123")', 'loaded = manager.load_state("trigger_123")'
    )
    names: dict[str, Any] = {}
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}".encode())
        try:
            exec(code, names)
            assert names["loaded"] == {"ema": 75.5, "count": 100}
            assert names["manager"].load_state("trigger_123") == {"count": 1}
            assert names["version"] == 0, "it had been deleted"
        finally:
            for name in ("manager", "pool"):
                if name in names:
                    names[name].close()
            connection.execute(f"DROP DATABASE {database} WITH (FORCE)".encode())
            with redis.Redis.from_url(servers.redis_url) as cache:
                cache.unlink("trigger:state:trigger_123", "trigger:state:\0epoch")


def test_the_example_of_read_modify_write(scratch: Scratch) -> None:
    text = README.with_name("docs").joinpath("CACHING.md").read_text()
    (code,) = (
        code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "while" in code
    )
    with scratch.manager("CachedStateManager") as manager:
        names: dict[str, Any] = {
            "manager": manager,
            "VersionConflict": VersionConflict,
            "changed": lambda state: {"count": (state or {"count": 0})["count"] + 1},
        }
        for count in (1, 2):
            exec(code, names)
            assert manager.load_state("trigger_123") == {"count": count}

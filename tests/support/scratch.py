"""A corner of the real servers that belongs to one test."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import psycopg
import redis
from psycopg import sql

from statecache import CacheConfig
from statecache.entry import parse_entry
from support.managers import open_manager


@dataclass(frozen=True)
class Scratch:
    database_url: str
    redis_url: str
    schema: str
    prefix: str
    database: psycopg.Connection[Any]
    cache: redis.Redis

    def config(self, **changes: Any) -> CacheConfig:
        # A second's time-out: a busy machine must not turn a hit into a miss.
        defaults: dict[str, Any] = {
            "schema": self.schema,
            "key_prefix": self.prefix,
            "timeout_ms": 1_000,
        }
        return CacheConfig(**defaults | changes)

    def manager(
        self,
        kind: str,
        *,
        redis_url: str | None = None,
        database_url: str | None = None,
        autocommit: bool = True,
        pool_timeout: float = 10.0,
        observer: Any = None,
        **changes: Any,
    ) -> AbstractContextManager[Any]:
        return open_manager(
            kind,
            database_url or self.database_url,
            redis_url or self.redis_url,
            self.config(**changes),
            autocommit=autocommit,
            pool_timeout=pool_timeout,
            observer=observer,
        )

    def sql(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run SQL, {t} for the table and {s} for the schema; return the rows, if any."""
        names = {
            "t": sql.Identifier(self.schema, "trigger_state"),
            "s": sql.Identifier(self.schema),
        }
        query = sql.SQL(text).format(**names)  # type: ignore[arg-type]
        cursor = self.database.execute(query, values)
        return cursor.fetchall() if cursor.description else []

    def entry(self, trigger_id: str) -> tuple[int, bytes] | None:
        """Return what the cache holds: the version, then kind and payload."""
        found: bytes | None = self.cache.get(self.prefix + trigger_id)
        entry = parse_entry(found or b"")
        return None if entry is None else (entry.version, entry.kind + entry.payload)

    def version(self, trigger_id: str) -> int:
        return int(self.sql("SELECT version FROM {t} WHERE trigger_id = %s", trigger_id)[0][0])

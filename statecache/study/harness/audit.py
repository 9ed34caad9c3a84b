"""What the servers say of a measurement, over one connection to each: rows, statements, CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil
import psycopg
import redis
from psycopg import sql

from statecache.study.counting import ServerCounts, count_over
from statecache.study.errors import StudyError
from statecache.study.harness.ledger import DELETED, Held
from statecache.study.harness.opening import APPLICATION
from statecache.study.servers import Database, Servers, open_database, open_redis

__all__ = ["Audit", "open_audit"]


#: No campaign takes as long, in seconds; what a server that failed kept goes by itself then.
MARK_S: Final = 86_400


class Audit:
    """Looks at the servers between measurements, and never during one."""

    def __init__(self, database: Database, cache: redis.Redis, *, is_local: bool) -> None:
        self._database = database
        self._cache = cache
        self._is_local = is_local

    def rows(self, schema: str) -> dict[str, Held]:
        """Return what every row holds."""
        # With an alias, so that the servers' counters know whose statement this is.
        query = sql.SQL(
            "SELECT trigger_id, coalesce((state_data->>'count')::bigint, %s), version "
            "FROM {}.trigger_state AS {}"
        ).format(sql.Identifier(schema), sql.Identifier(schema))
        rows = self._database.execute(query, [DELETED]).fetchall()
        return {trigger_id: Held(number, version) for trigger_id, number, version in rows}

    def mark_cache(self, key: str) -> None:
        """Leave a key in the cache that is lost with its contents."""
        self._cache.set(key, b"1", ex=MARK_S)

    def check_cache(self, key: str) -> None:
        """Raise ``StudyError`` where the cache has lost its contents since ``mark_cache``."""
        if self._cache.get(key) is None:
            raise StudyError(
                "Redis was emptied or restarted in the middle of a measurement: see to it that "
                "nobody does that."
            )

    def counts(self, schema: str) -> ServerCounts:
        """Return the servers' own counters; see ``counting``."""
        return count_over(self._database, self._cache, [schema])

    def statements(self, schema: str) -> int | None:
        """Return PostgreSQL's count of a schema's statements, whatever happened to the cache.

        ``None`` where it keeps no count.
        """
        counts = self.counts(schema).statements
        return None if counts is None else counts[schema]

    def backend_cpu_s(self) -> float | None:
        """Return the CPU seconds so far of the backends that serve the pools.

        ``None`` where they run on another machine, or are hidden from this user.
        """
        if not self._is_local:
            return None
        rows = self._database.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s", [APPLICATION]
        ).fetchall()
        try:
            return sum(_cpu_s(int(pid)) for (pid,) in rows)
        except (OSError, psutil.Error):
            return None

    def cache_cpu_s(self) -> float | None:
        """Return the CPU seconds so far of Redis; ``None`` where it runs on another machine."""
        if not self._is_local:
            return None
        cpu = self._cache.info("cpu")
        return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])

    def checkpoint(self) -> bool:
        """Write all dirty pages out; return whether this user may ask for that."""
        try:
            self._database.execute("CHECKPOINT")
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True

    def evict(self, schema: str) -> bool:
        """Empty PostgreSQL's own buffers of a schema's tables; return whether it could.

        What the operating system caches stays: a read comes from memory still, but not from the
        server's own.
        """
        try:
            self._database.execute("CREATE EXTENSION IF NOT EXISTS pg_buffercache")
            self._database.execute(
                "SELECT pg_buffercache_evict_relation(c.oid) FROM pg_class c "
                "JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = %s AND c.relkind IN ('r', 'i')",
                [schema],
            )
        except psycopg.Error:
            return False
        return True

    def tidy(self, schema: str) -> None:
        """Remove dead rows, so that no run pays for the one before it."""
        tables = self._database.execute(
            "SELECT tablename::text FROM pg_tables WHERE schemaname = %s", [schema]
        ).fetchall()
        for (table,) in tables:
            self._database.execute(sql.SQL("VACUUM {}").format(sql.Identifier(schema, table)))


@contextmanager
def open_audit(servers: Servers) -> Iterator[Audit]:
    """Yield an audit whose connections are closed at the end."""
    with open_database(servers) as database, open_redis(servers) as cache:
        yield Audit(database, cache, is_local=servers.embedded)


def _cpu_s(pid: int) -> float:
    schedule = Path(f"/proc/{pid}/schedstat")
    if schedule.exists():  # nanoseconds, where cpu_times counts in hundredths of a second
        return int(schedule.read_text().split()[0]) / 1e9
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system

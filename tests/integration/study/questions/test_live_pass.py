"""A pass on real servers, and that each of its checks can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pandas as pd
import psycopg
import pytest
import redis

from statecache.study.errors import StudyError
from statecache.study.questions.ttl_sweep.cells import executed_trace
from statecache.study.questions.ttl_sweep.live_pass import PassRecord, Variant, run_pass
from statecache.study.replay import hit_curve
from statecache.study.servers import Servers

VARIANTS = [Variant("uncached"), Variant("cached", 60_000)]


def stream() -> pd.DataFrame:
    """Forty events and looks of two routes, one every 5 ms of wall clock."""
    rows = [
        (n * 0.5, "AB"[n % 2], "look" if n % 4 == 3 else "event", float("nan") if n % 4 == 3 else n)
        for n in range(40)
    ]
    return pd.DataFrame(rows, columns=["time_s", "key", "kind", "delay_min"])


def measure(
    servers: Servers, on_progress: Callable[[float], None] = lambda share: None
) -> PassRecord:
    return asyncio.run(
        run_pass(
            stream(),
            VARIANTS,
            servers,
            time_scale=100.0,
            timeout_ms=5_000,
            on_progress=on_progress,
        )
    )


def test_what_is_recorded(servers: Servers) -> None:
    record = measure(servers)
    cached, uncached = record.stats["cached"], record.stats["uncached"]
    assert cached.hits + cached.misses == uncached.db_reads == 40
    assert cached.db_writes == uncached.db_writes == 30
    assert record.statements == {"uncached": 70, "cached": 30 + cached.db_reads}
    requests = record.log.requests
    assert len(requests) == 80
    assert (requests["started_s"] >= requests["planned_s"]).all()
    assert (requests["ended_s"] >= requests["started_s"]).all()
    accesses = record.log.accesses.query("variant == 'cached'")
    assert len(accesses) == 70
    assert (accesses["outcome"] == "hit").sum() == cached.hits
    (replayed,) = hit_curve(executed_trace(accesses), [60.0])["hits"]
    assert abs(replayed - cached.hits) <= in_unknown_order(accesses)


def in_unknown_order(accesses: pd.DataFrame) -> int:
    """Return how many accesses overlapped another of their key; a quick machine has none."""
    count = 0
    for _key, own in accesses.groupby("key", observed=True):
        started, ended = own["started_s"].to_numpy(), own["ended_s"].to_numpy()
        overlaps = (started[:, None] < ended) & (started < ended[:, None])
        count += int((overlaps.sum(axis=1) > 1).sum())
    return count


def test_nothing_is_left_behind(servers: Servers) -> None:
    measure(servers)
    with psycopg.connect(servers.database_url) as database:
        found = database.execute(
            "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'statecache\\_study\\_%'"
        ).fetchone()
    assert found == (0,)
    with redis.Redis.from_url(servers.redis_url) as cache:
        assert list(cache.scan_iter("statecache:study:*")) == []


def test_a_command_of_somebody_else_is_noticed(servers: Servers) -> None:
    def meddle(_share: float) -> None:
        with redis.Redis.from_url(servers.redis_url) as cache:
            cache.get("somebody else's key")

    with pytest.raises(StudyError, match="is anybody else using these servers"):
        measure(servers, meddle)


def test_a_statement_of_somebody_else_is_noticed(servers: Servers) -> None:
    def meddle(_share: float) -> None:
        with psycopg.connect(servers.database_url, autocommit=True) as database:
            (schema,) = database.execute(
                "SELECT nspname FROM pg_namespace WHERE nspname LIKE '%\\_cached'"
            ).fetchone() or ("",)
            database.execute(
                f'SELECT count(*) FROM "{schema}"."trigger_state" AS "{schema}"'.encode()
            )

    with pytest.raises(StudyError, match="PostgreSQL statements of cached"):
        measure(servers, meddle)


def test_a_lost_event_is_noticed(servers: Servers) -> None:
    def meddle(_share: float) -> None:
        with psycopg.connect(servers.database_url, autocommit=True) as database:
            (schema,) = database.execute(
                "SELECT nspname FROM pg_namespace WHERE nspname LIKE '%\\_uncached'"
            ).fetchone() or ("",)
            database.execute(
                f'UPDATE "{schema}"."trigger_state" AS "{schema}" SET state_data = '
                "jsonb_set(state_data, '{count}', '-1') WHERE trigger_id = 'A'".encode()
            )

    with pytest.raises(StudyError, match="lost or repeated updates"):
        measure(servers, meddle)

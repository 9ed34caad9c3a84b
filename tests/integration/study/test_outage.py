"""The outage figures, on a small scale, and the relay behind two of the troubles."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from statecache.study.bench import outage
from statecache.study.servers import Servers
from statecache.study.troubles.relay import TroubleRelay, running_relay


@pytest.mark.parametrize(("callers", "trouble"), [("threads", "dead"), ("asyncio", "slow")])
def test_nobody_notices_an_outage(callers: str, trouble: str, tmp_path: Path) -> None:
    out = tmp_path / "outage.json"
    chosen = ["--callers", callers, "--trouble", trouble, "--operations", "300"]
    outage.main([*chosen, "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["format"] == outage.FORMAT
    assert found["servers"]["embedded"] is True
    (case,) = found["cases"]
    assert (case["callers"], case["trouble"]) == (callers, trouble)
    assert case["operations"] >= 300
    assert case["acknowledged_writes"] > 400
    # How long things take is this machine's business.
    for name in ("errors", "wrong_answers", "lost_writes"):
        assert case[name] == 0
    assert case["stale_reads"]["own"] == case["stale_reads"]["at_the_end"] == 0
    assert case["used_again_s"] is not None
    healthy, troubled = case["latency_ms"]["healthy"], case["latency_ms"]["outage"]
    assert set(healthy) == set(troubled) == {"all", "load", "update"}
    assert all(0 < one["p50"] <= one["p99"] <= one["max"] for one in healthy.values())


def client(relay: TroubleRelay, servers: Servers) -> redis.Redis:
    return redis.Redis.from_url(relay.address(servers.redis_url), retry=Retry(NoBackoff(), 0))


def test_a_relay_delays_resets_and_heals(servers: Servers) -> None:
    with running_relay(servers.redis_url) as relay, client(relay, servers) as cache:
        assert cache.echo("x" * 100_000) == b"x" * 100_000
        relay.delay(50)
        began = time.monotonic()
        assert cache.echo("late") == b"late"
        assert time.monotonic() - began >= 0.05
        relay.reset(3, 3)
        for _ in range(3):
            with pytest.raises(redis.ConnectionError):
                cache.echo("cut short")
        relay.heal()
        assert cache.echo("well") == b"well"


def test_a_relay_to_nobody_closes(servers: Servers) -> None:
    with (
        running_relay("redis://127.0.0.1:1/0") as relay,
        client(relay, servers) as cache,
        pytest.raises(redis.ConnectionError),
    ):
        cache.ping()

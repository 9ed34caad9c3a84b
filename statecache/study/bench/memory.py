"""What states take in Redis, against the same states as plain JSON strings."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeAlias

import orjson
import redis

from statecache.study.bench.rows import AT_MOST, Findings, Goal, Row
from statecache.study.bench.stage import Stage
from statecache.study.errors import StudyError
from statecache.study.harness.documents import document, trigger_ids
from statecache.study.harness.opening import Opening
from statecache.study.intervals import Interval

__all__ = ["kilobyte_document", "measure_memory"]

Fill: TypeAlias = Callable[[dict[str, Any]], Any]

BATCH = 1_000
POOL_SIZE = 2
#: States of at least this many bytes are compressed in the variant that compresses.
COMPRESS_MIN_BYTES = 512
#: Events in a state's history; with them its JSON has about 1,000 bytes.
EVENTS = 14


async def measure_memory(stage: Stage) -> Findings:
    """Weigh states of about 1 KB: as plain strings, as the manager's entries, compressed."""
    taken: dict[str, float] = {}
    with stage.workspace(["entries", "compressed"], []) as workspace:
        async with Opening(stage.servers) as opening:
            client, pool = opening.client(), opening.pool(POOL_SIZE)
            config = stage.config(workspace, "entries")
            compressing = stage.config(
                workspace, "compressed", compress_min_bytes=COMPRESS_MIN_BYTES
            )
            plain = _plain(client, config.key_prefix)
            fillings: list[tuple[str, str, Fill]] = [
                # The first filling makes the server's own table grow; it is not used.
                ("warm-up", config.key_prefix, plain),
                ("plain", config.key_prefix, plain),
                ("entries", config.key_prefix, opening.cached(pool, config).update_states),
                (
                    "compressed",
                    compressing.key_prefix,
                    opening.cached(pool, compressing).update_states,
                ),
            ]
            for done, (name, prefix, fill) in enumerate(fillings):
                taken[name] = _weigh(client, prefix, fill, stage.effort.states)
                stage.progress((done + 1) / len(fillings))
            opening.check()
    what = f"memory of {stage.effort.states:,} states in Redis"
    plain_bytes = taken["plain"]
    return Findings(
        [
            _row("memory", what, (taken["entries"], plain_bytes), 1.1),
            _row(
                "memory_compressed", f"{what}, compressed", (taken["compressed"], plain_bytes), 1.0
            ),
        ]
    )


def kilobyte_document(number: int) -> dict[str, Any]:
    """Return a trigger's state with a history of events, of about 1,000 bytes of JSON."""
    draw = random.Random(number)  # noqa: S311 - a document, not a secret
    events = [
        {
            "at": f"2013-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}T"
            f"{draw.randint(0, 23):02}:{draw.randint(0, 59):02}:00Z",
            "delay": round(draw.gauss(15.0, 30.0), 2),
            "carrier": draw.choice(("AA", "B6", "DL", "UA")),
        }
        for _ in range(EVENTS)
    ]
    return {**document(number), "history": events}


def _plain(client: redis.Redis, prefix: str) -> Fill:
    def fill(states: dict[str, Any]) -> None:
        pipeline = client.pipeline(transaction=False)
        for trigger_id, state in states.items():
            pipeline.set(prefix + trigger_id, orjson.dumps(state), ex=3_600)
        pipeline.execute()

    return fill


def _weigh(client: redis.Redis, prefix: str, fill: Fill, count: int) -> float:
    """Fill Redis with ``count`` states, return the bytes that it took for them, and empty it."""
    ids = trigger_ids(count)
    before = _used(client)
    for start in range(0, count, BATCH):
        batch = ids[start : start + BATCH]
        fill({one: kilobyte_document(start + place) for place, one in enumerate(batch)})
    taken = _used(client) - before
    held = 0
    for start in range(0, count, BATCH):
        # Not unlinked: the next one is to find the memory free.
        held += int(client.delete(*(prefix + one for one in ids[start : start + BATCH])))
    if held != count:
        raise StudyError(f"Redis held {held} of {count} states: is it too small for them?")
    return taken


def _used(client: redis.Redis) -> float:
    return float(client.info("memory")["used_memory"])


def _row(name: str, what: str, taken: tuple[float, float], most: float) -> Row:
    ours, theirs = taken
    share = ours / theirs
    size = sum(len(orjson.dumps(kilobyte_document(number))) for number in range(100)) / 100
    return Row(
        name=name,
        what=what,
        against="plain JSON strings, same keys and TTL",
        value=Interval(share, share, share),
        goal=Goal(AT_MOST, most),
        counted=True,
        ours=ours / 2**20,
        theirs=theirs / 2**20,
        absolute_unit="MiB",
        note=f"{size:.0f} bytes of JSON on average",
    )

"""What a cached state takes in Redis, key and overhead included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import pandas as pd

from statecache import CacheConfig
from statecache.study.harness.documents import document, trigger_ids
from statecache.study.harness.opening import Opening
from statecache.study.harness.outages import outages_named
from statecache.study.harness.tables import load_table
from statecache.study.servers import Servers, open_redis
from statecache.study.workspace import open_workspace

__all__ = ["COMPRESSED", "DOCUMENTED", "LARGE", "Kind", "weigh"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of state: how the one of a number is made, and from how many bytes on compressed."""

    name: str
    make: Callable[[int], dict[str, Any]]
    compress_min_bytes: int = 0


def _documented(number: int) -> dict[str, Any]:
    """Return a state as the documents show one."""
    return {"ema": round(50 + 50 * ((number * 0.618) % 1), 2), "count": number}


def _large(number: int) -> dict[str, Any]:
    return document(number, 4_096)


DOCUMENTED: Final = Kind("documented", _documented)
LARGE: Final = Kind("of 4,096 bytes", _large)
COMPRESSED: Final = Kind("of 4,096 bytes, compressed", _large, compress_min_bytes=1_024)


async def weigh(servers: Servers, kinds: Sequence[Kind], count: int) -> pd.DataFrame:
    """Write so many states of each kind; return kind, json_bytes and bytes, a row a state.

    Bytes are Redis's own count (MEMORY USAGE): key, entry, time to live and their overhead.
    """
    places = [f"m{number}" for number in range(len(kinds))]
    rows = []
    with (
        outages_named(servers),
        open_workspace(servers, places) as workspace,
        open_redis(servers) as client,
    ):
        async with Opening(servers) as opening:
            pool = await opening.async_pool(1)
            ids = trigger_ids(count)
            for kind, place in zip(kinds, places, strict=True):
                config = CacheConfig(
                    schema=workspace.schema(place),
                    key_prefix=workspace.key_prefix(place),
                    timeout_ms=2_000,
                    compress_min_bytes=kind.compress_min_bytes,
                )
                load_table(servers, config.schema, [])
                manager = await opening.async_cached(pool, config)
                states = {one: kind.make(number) for number, one in enumerate(ids)}
                await manager.update_states(states)
                # The study's prefix is longer than the documented one, which is what is weighed.
                longer = len(config.key_prefix) - len(CacheConfig().key_prefix)
                for one, state in states.items():
                    used = client.memory_usage(config.key_prefix + one, samples=0)
                    rows.append(
                        {
                            "kind": kind.name,
                            "json_bytes": len(orjson.dumps(state)),
                            "bytes": int(used) - longer,
                        }
                    )
            opening.check()
    return pd.DataFrame(rows)

"""What a cached state takes in Redis, key and overhead included."""

from __future__ import annotations

from collections.abc import Callable
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

__all__ = ["DOCUMENTED", "KINDS", "weigh"]

DOCUMENTED: Final = "documented"
KILOBYTE: Final = 1_000


def _documented(number: int) -> dict[str, Any]:
    """Return a state as the documents show one."""
    return {"ema": round(50 + 50 * ((number * 0.618) % 1), 2), "count": number}


#: Kind of state → how one is made.
KINDS: Final[dict[str, Callable[[int], dict[str, Any]]]] = {
    DOCUMENTED: _documented,
    "this study's": document,
    "of 1,000 bytes": lambda number: document(number, KILOBYTE),
}


async def weigh(servers: Servers, count: int) -> pd.DataFrame:
    """Write so many states of each kind; return kind, json_bytes and bytes, a row a state.

    Bytes are Redis's own count (MEMORY USAGE): key, entry, time to live and their overhead.
    """
    places = {kind: f"m{number}" for number, kind in enumerate(KINDS)}
    rows = []
    with (
        outages_named(servers),
        open_workspace(servers, list(places.values())) as workspace,
        open_redis(servers) as client,
    ):
        async with Opening(servers) as opening:
            pool = await opening.async_pool(1)
            ids = trigger_ids(count)
            for kind, place in places.items():
                config = CacheConfig(
                    schema=workspace.schema(place),
                    key_prefix=workspace.key_prefix(place),
                    timeout_ms=2_000,
                )
                load_table(servers, config.schema, [])
                manager = await opening.async_cached(pool, config)
                states = {one: KINDS[kind](number) for number, one in enumerate(ids)}
                await manager.update_states(states)
                # The study's prefix is longer than the documented one, which is what is weighed.
                longer = len(config.key_prefix) - len(CacheConfig().key_prefix)
                for one, state in states.items():
                    used = client.memory_usage(config.key_prefix + one, samples=0)
                    rows.append(
                        {
                            "kind": kind,
                            "json_bytes": len(orjson.dumps(state)),
                            "bytes": int(used) - longer,
                        }
                    )
            opening.check()
    return pd.DataFrame(rows)

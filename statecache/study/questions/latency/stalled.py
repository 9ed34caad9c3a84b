"""A cache that stands still for a while under load, recorded in two ways (coordinated omission)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pandas as pd

from statecache.study.harness.aside import run_aside
from statecache.study.harness.documents import trigger_ids
from statecache.study.harness.opening import Opening
from statecache.study.harness.outages import outages_named
from statecache.study.harness.stall import Stall, record_stall
from statecache.study.harness.tables import load_table
from statecache.study.harness.variants import REDIS
from statecache.study.harness.workloads import Workload, make_plan
from statecache.study.servers import Servers
from statecache.study.troubles.relay import running_relay
from statecache.study.workspace import open_workspace

__all__ = ["record", "summary"]

#: Waits for the cache as a client without a time limit does: what is shown is the stall.
PATIENT: Final = replace(REDIS, settings={"timeout_ms": 60_000})
POOL_SIZE: Final = 4


def record(
    servers: Servers, *, keys: int, rate_per_s: float, seconds: float, stall_s: float, seed: int
) -> pd.DataFrame:
    """Return a row a load: loop (open or closed), due_s, latency_us, stalled and halt_s.

    Both loops load cached states side by side, through a relay to Redis that is stopped for
    ``stall_s``, so that it does not matter whose the servers are. ``due_s`` counts from the
    beginning, ``stalled`` says whether the load was due while the relay stood still, and
    ``halt_s`` for how long it really did.
    """
    ids = trigger_ids(keys)
    plan = make_plan(Workload(keys=keys, popularity="uniform", read_share=1.0), seed)
    with (
        outages_named(servers),
        running_relay(servers.redis_url) as relay,
        open_workspace(servers, ["v"]) as workspace,
    ):
        config = PATIENT.config(workspace, "v", keys)
        load_table(servers, config.schema, ids)
        relayed = replace(servers, redis_url=relay.address(servers.redis_url))

        async def run() -> Stall:
            async with Opening(relayed) as opening:
                manager = await opening.async_cached(await opening.async_pool(POOL_SIZE), config)
                await manager.load_states(ids)
                return await record_stall(
                    manager,
                    plan,
                    relay.pid,
                    rate_per_s=rate_per_s,
                    seconds=seconds,
                    stall_s=stall_s,
                )

        return _frame(run_aside(run))


def summary(loads: pd.DataFrame) -> pd.DataFrame:
    """Return a row a loop: requests, due_in_stall, slow, p50_ms, p99_ms, p999_ms and max_ms.

    ``loads`` is what ``record`` returned; ``slow`` ones took longer than a tenth of the stall.
    """
    rows = []
    for loop, own in loads.groupby("loop"):
        levels = own["latency_us"].quantile([0.5, 0.99, 0.999, 1.0]) / 1e3
        names = ("p50_ms", "p99_ms", "p999_ms", "max_ms")
        rows.append(
            {
                "loop": loop,
                "requests": len(own),
                "due_in_stall": int(own["stalled"].sum()),
                "slow": int((own["latency_us"] > 1e5 * own["halt_s"]).sum()),
                **dict(zip(names, levels, strict=True)),
            }
        )
    return pd.DataFrame(rows).set_index("loop")


def _frame(stall: Stall) -> pd.DataFrame:
    halt = stall.halt
    rows = [
        (loop, due - recording.began, (ended - due) * 1e6, halt.began <= due < halt.ended)
        for loop, recording in (("open", stall.open), ("closed", stall.closed))
        for _operation, due, _started, ended in recording.requests
    ]
    frame = pd.DataFrame(rows, columns=["loop", "due_s", "latency_us", "stalled"])
    return frame.assign(halt_s=halt.ended - halt.began)

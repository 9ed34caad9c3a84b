"""Timelines of every trouble, in random order, kept as they end."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import pandas as pd

from statecache.study.questions.degradation.frames import bins_of, histograms_of, row_of
from statecache.study.questions.degradation.settings import DISABLED, Settings
from statecache.study.questions.degradation.timeline import (
    PLACE,
    Timeline,
    check_statements,
    record_timeline,
)
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers, open_database
from statecache.study.troubles.causes import Trouble, trouble_of
from statecache.study.troubles.own_servers import OwnServers, own_servers
from statecache.study.troubles.relay import TroubleRelay, running_relay
from statecache.study.workspace import Workspace, open_workspace, unlink_keys

__all__ = ["NOTEBOOK", "Recorded", "measure"]

#: The notebook whose cells these are.
NOTEBOOK: Final = "degradation"
#: What is kept of a timeline, each in a file of its own.
PARTS: Final = ("bins", "latency", "")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded; ``cell`` is the trouble, ``block`` the repetition, times are in seconds.

    ``cells``, a row a timeline: cell, variant, profile, block, requests, errors, error_text, wrong,
    own_stale, broken, acknowledged, lost, stale, stale_longest_s, stale_after_repair,
    stale_at_the_end, trouble_s, used_after_s, repaired_after_s, warm_after_s (hit rate back),
    hit_rate_<phase>, statements_per_s_<phase>, throughput_per_s_<phase>, log_lines, log_first,
    late_p99_us.

    ``bins``: cell, block, at_s (since the trouble began; of the bin's middle), requests, p50_ms,
    p99_ms, max_ms (of what was due then), throughput_per_s, errors, stale, hit_rate,
    statements_per_s, unrepaired, breaker_open.

    ``histograms``: cell (trouble and phase), block, operation, low_us, high_us, count.
    """

    settings: Settings
    cells: pd.DataFrame
    bins: pd.DataFrame
    histograms: pd.DataFrame
    #: Whether the cache's process was ours to kill; else a relay stood in for what happened to it.
    is_own: bool


async def measure(
    settings: Settings,
    servers: Servers,
    folder: RunFolder,
    on_progress: Callable[[float, str], None] = lambda _share, _what: None,
) -> Recorded:
    """Record every timeline that the folder does not hold yet, and return all of them.

    Embedded servers are not touched: a second pair is started, which can be killed. Raises
    ``StudyError``.
    """
    turns = []
    for block in range(settings.repetitions):
        order = list(settings.troubles)
        random.Random(f"{settings.seed} {block}").shuffle(order)  # noqa: S311 - an order
        turns += [(block, name) for name in order]
    missing = [turn for turn in turns if not _is_kept(settings, folder, turn)]
    if missing:
        with _stand(servers) as stand, ThreadPoolExecutor(1) as worker:
            for done, turn in enumerate(missing):
                on_progress(done / len(missing), f"{NOTEBOOK}, {turn[1]}")
                timeline = await stand.record(settings, turn[1], worker)
                check_statements(timeline)
                _keep(settings, folder, turn, timeline, stand.own is not None)
    on_progress(1.0, "measured")

    def all_of(part: str) -> pd.DataFrame:
        found = [folder.read_cell(NOTEBOOK, _cell(settings, turn, part)) for turn in turns]
        return pd.concat([frame for frame in found if frame is not None], ignore_index=True)

    cells = all_of("")
    return Recorded(settings, cells, all_of("bins"), all_of("latency"), bool(cells["own"].all()))


@dataclass(frozen=True, slots=True)
class _Stand:
    """Servers on which trouble may be made, and a relay before the cache."""

    servers: Servers
    relay: TroubleRelay
    own: OwnServers | None

    async def record(self, settings: Settings, name: str, worker: Executor) -> Timeline:
        with open_workspace(self.servers, [PLACE]) as workspace:
            trouble = self._trouble(name, workspace)
            url = self.servers.redis_url
            if self.own is None or name in ("slow", "resetting"):
                url = self.relay.address(url)
            return await record_timeline(
                settings,
                trouble,
                servers=self.servers,
                redis_url=url,
                workspace=workspace,
                worker=worker,
            )

    def _trouble(self, name: str, workspace: Workspace) -> Trouble:
        if name == DISABLED:
            return replace(self._trouble("none", workspace), name=DISABLED)
        if self.own is None:
            return trouble_of(name, self.relay, None, partial(unlink_keys, self.servers, workspace))
        return trouble_of(name, self.relay, self.own.cache, self.own.empty_cache)


@contextmanager
def _stand(servers: Servers) -> Iterator[_Stand]:
    if not servers.embedded:
        with running_relay(servers.redis_url) as relay:
            yield _Stand(servers, relay, None)
        return
    with own_servers() as own, running_relay(own.servers.redis_url) as relay:
        with open_database(own.servers) as database:
            database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        yield _Stand(own.servers, relay, own)


def _is_kept(settings: Settings, folder: RunFolder, turn: tuple[int, str]) -> bool:
    parts = (_cell(settings, turn, part) for part in PARTS)
    return all(folder.read_cell(NOTEBOOK, part) is not None for part in parts)


def _cell(settings: Settings, turn: tuple[int, str], part: str = "") -> str:
    block, name = turn
    return ".".join(filter(None, [f"{settings.fingerprint}-{block:03d}-{name}", part]))


def _keep(
    settings: Settings,
    folder: RunFolder,
    turn: tuple[int, str],
    timeline: Timeline,
    is_own: bool,
) -> None:
    block, name = turn
    bins = bins_of(settings, timeline)
    latency = histograms_of(settings, timeline)
    latency["phase"] = name + " " + latency["phase"]
    row = row_of(settings, timeline) | {"own": is_own}
    head = {"cell": name, "variant": "redis", "profile": "loopback", "block": block}
    folder.write_cell(NOTEBOOK, _cell(settings, turn, "bins"), bins.assign(cell=name, block=block))
    folder.write_cell(
        NOTEBOOK,
        _cell(settings, turn, "latency"),
        latency.rename(columns={"phase": "cell"}).assign(block=block),
    )
    folder.write_cell(NOTEBOOK, _cell(settings, turn), pd.DataFrame([head | row]))

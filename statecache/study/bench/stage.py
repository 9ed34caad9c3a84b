"""What every benchmark stands on: servers, a corner of them, loaded tables, how much to measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from statecache import CacheConfig
from statecache.study.harness.documents import trigger_ids
from statecache.study.harness.tables import load_table
from statecache.study.servers import Servers
from statecache.study.workspace import Workspace, open_workspace

__all__ = ["FULL", "QUICK", "Effort", "Stage"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    #: Pairs of short rounds on a path of microseconds, and of runs of a mix.
    pairs: int
    mix_pairs: int
    #: Calls a round: over the network one after the other, by concurrent callers, in the process.
    calls: int
    concurrent_calls: int
    local_calls: int
    #: Length of a run of a mix or of the engine, in seconds.
    run_s: float
    ids: int
    callers: tuple[int, ...]
    pool_sizes: tuple[int, ...]
    triggers: int
    #: States whose memory is weighed.
    states: int
    #: Writes whose propagation is watched, and times that a connection is cut off.
    watched_writes: int
    blackouts: int
    #: Pairs where an option's cost of a few per cent is judged, where it is shown, and the length
    #: of a run in seconds.
    goal_pairs: int
    option_pairs: int
    option_run_s: float
    #: Requests of the trace that is replayed, and pairs of such replays.
    requests: int
    replay_pairs: int


FULL = Effort(
    pairs=200,
    mix_pairs=14,
    calls=50,
    concurrent_calls=320,
    local_calls=5_000,
    run_s=0.4,
    ids=10_000,
    callers=(32, 100, 256),
    pool_sizes=(2, 4, 8, 16, 32, 64),
    triggers=100,
    states=100_000,
    watched_writes=10_000,
    blackouts=8,
    goal_pairs=480,
    option_pairs=30,
    option_run_s=0.2,
    requests=10_000_000,
    replay_pairs=8,
)

#: Shows that everything works; decides nothing.
QUICK = Effort(
    pairs=2,
    mix_pairs=2,
    calls=10,
    concurrent_calls=32,
    local_calls=100,
    run_s=0.05,
    ids=100,
    callers=(8,),
    pool_sizes=(2, 4),
    triggers=8,
    states=300,
    watched_writes=20,
    blackouts=1,
    goal_pairs=2,
    option_pairs=2,
    option_run_s=0.03,
    requests=100_000,
    replay_pairs=2,
)


@dataclass(frozen=True, slots=True)
class Stage:
    """Passed to every benchmark; ``progress`` is told the share of it that is done."""

    servers: Servers
    effort: Effort
    seed: int
    progress: Callable[[float], None]

    @contextmanager
    def workspace(
        self, variants: Sequence[str], ids: Sequence[str] | None = None
    ) -> Iterator[Workspace]:
        """Yield a schema and a key prefix a variant, each table with a state for every id."""
        ids = trigger_ids(self.effort.ids) if ids is None else ids
        with open_workspace(self.servers, variants) as workspace:
            for variant in variants:
                load_table(self.servers, workspace.schema(variant), ids)
            yield workspace

    def part(self, number: int, count: int) -> Stage:
        """Return the stage of one part of a benchmark, whose progress is a share of the whole."""
        return dataclasses.replace(
            self, progress=lambda share: self.progress((number + share) / count)
        )

    @staticmethod
    def config(workspace: Workspace, variant: str, **changes: Any) -> CacheConfig:
        """Return the configuration for a variant; its cache never expires within a benchmark."""
        settings: dict[str, Any] = {
            "schema": workspace.schema(variant),
            "key_prefix": workspace.key_prefix(variant),
            "ttl_secs": 3_600.0,
            # A busy machine must not turn a hit into a miss.
            "timeout_ms": 2_000,
        }
        return CacheConfig(**settings | changes)

"""Variants: managers under test, as data."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from statecache import AsyncStateManager, CacheConfig, StateManager
from statecache.study.harness.opening import Opening, PoolOptions
from statecache.study.workspace import Workspace

__all__ = ["ALL", "FACTORIAL", "GATHER", "GATHER_REDIS", "NONE", "REDIS", "Variant", "open_variant"]

#: Longer than any measurement: nothing expires where the TTL is not what is studied.
LONG_TTL_S: Final = 3_600.0

#: What a call may wait for the cache: a busy machine must not turn a hit into a miss.
TIMEOUT_MS: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A manager under test: which mechanisms it uses, and what else is set."""

    gather: bool = False
    redis: bool = False
    memory: bool = False
    ttl_s: float = LONG_TTL_S
    #: Callers are threads on the synchronous manager.
    threads: bool = False
    #: Further fields of ``CacheConfig``.
    settings: Mapping[str, Any] = field(default_factory=dict)
    synchronous_commit: bool = True
    #: Its table has the triggers that note writes made behind the managers' backs.
    outside_writes: bool = False
    #: What tells it apart from another variant with the same mechanisms.
    mark: str = ""

    @property
    def name(self) -> str:
        """Name for readers and for the results: the mechanisms, and what tells it apart."""
        used = [name for name in ("gather", "redis", "memory") if getattr(self, name)]
        kind = " + ".join(used) or "none"
        return " ".join(filter(None, [kind, "threads" if self.threads else "", self.mark]))

    def config(self, workspace: Workspace, place: str, keys: int) -> CacheConfig:
        """Return its configuration in its place in the workspace, for that many keys."""
        settings: dict[str, Any] = {
            "schema": workspace.schema(place),
            "key_prefix": workspace.key_prefix(place),
            "ttl_secs": self.ttl_s,
            "timeout_ms": TIMEOUT_MS,
            "gather": self.gather,
            "memory_items": 2 * keys if self.memory else 0,
            "memory_ttl_secs": LONG_TTL_S,
        }
        return CacheConfig(**settings | dict(self.settings))

    @property
    def pool_options(self) -> PoolOptions:
        """What its connections have in common."""
        return PoolOptions(synchronous_commit=self.synchronous_commit)


NONE: Final = Variant()
GATHER: Final = Variant(gather=True)
REDIS: Final = Variant(redis=True)
GATHER_REDIS: Final = Variant(gather=True, redis=True)
ALL: Final = Variant(gather=True, redis=True, memory=True)

#: Every combination of mechanisms: without Redis nothing would keep the in-process tier coherent.
FACTORIAL: Final = tuple(
    Variant(gather=gather, redis=redis, memory=memory)
    for redis, memory, gather in itertools.product((False, True), repeat=3)
    if redis or not memory
)


async def open_variant(
    opening: Opening, variant: Variant, config: CacheConfig, pool_size: int
) -> AsyncStateManager | StateManager:
    """Open the manager; variants with the same connections share a pool."""
    if variant.threads:
        threads_pool = opening.pool(pool_size, variant.pool_options)
        if variant.redis:
            return opening.cached(threads_pool, config)
        return opening.manager(threads_pool, config)
    pool = await opening.async_pool(pool_size, variant.pool_options)
    if variant.redis:
        return await opening.async_cached(pool, config)
    return await opening.async_manager(pool, config)

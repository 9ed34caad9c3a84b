"""Trigger state in PostgreSQL, cached in Redis.

``StateManager`` keeps one JSON state a trigger in PostgreSQL; ``CachedStateManager`` is the same
API through Redis. Both have asynchronous twins with the same methods as coroutines.
"""

from statecache._async.cached_state_manager import AsyncCachedStateManager
from statecache._async.state_manager import AsyncStateManager
from statecache._sync.cached_state_manager import CachedStateManager
from statecache._sync.state_manager import StateManager
from statecache.access import Access, Observer
from statecache.config import CacheConfig
from statecache.errors import (
    ConfigError,
    DatabaseError,
    InvalidState,
    InvalidTriggerId,
    StateCacheError,
    VersionConflict,
)
from statecache.schema import init_db
from statecache.stats import CacheStats
from statecache.verification import Difference, Verification

__all__ = [
    "Access",
    "AsyncCachedStateManager",
    "AsyncStateManager",
    "CacheConfig",
    "CacheStats",
    "CachedStateManager",
    "ConfigError",
    "DatabaseError",
    "Difference",
    "InvalidState",
    "InvalidTriggerId",
    "Observer",
    "StateCacheError",
    "StateManager",
    "Verification",
    "VersionConflict",
    "init_db",
]

__version__ = "0.1.0"

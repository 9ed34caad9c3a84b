"""Everything statecache raises on purpose.

::

    StateCacheError
     ├── ConfigError            a setting or environment variable is wrong    (also ValueError)
     ├── InvalidTriggerId       refused before anything is written            (also ValueError)
     ├── InvalidState           refused before anything is written            (also ValueError)
     ├── VersionConflict        somebody else wrote in between
     └── DatabaseError          PostgreSQL could not answer; the cause is chained

Trouble with the cache is never raised: it is counted, and PostgreSQL answers.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DatabaseError",
    "InvalidState",
    "InvalidTriggerId",
    "StateCacheError",
    "VersionConflict",
    "first_line",
]


class StateCacheError(Exception):
    """The root of the tree: catches every error statecache raises on purpose."""


class ConfigError(StateCacheError, ValueError):
    """A setting is wrong; the message names it, its value and what is allowed."""


class InvalidTriggerId(StateCacheError, ValueError):
    """A trigger id is empty, too long or not storable as PostgreSQL text."""


class InvalidState(StateCacheError, ValueError):
    """A state is not JSON, not storable as jsonb, or over the size limit."""


class VersionConflict(StateCacheError):
    """The state's version is not the expected one: reload, apply again, retry."""


class DatabaseError(StateCacheError):
    """PostgreSQL did not answer or refused; ``__cause__`` is the driver's error."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text without its full stop, its name if it has none."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__

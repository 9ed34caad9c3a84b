"""What the study raises on purpose; the root is the library's ``StateCacheError``.

::

    StudyError
     ├── ServersError      servers are missing, unreachable or cannot be started
     ├── WorkspaceError    a study may not have its schemas or keys, or could not remove them
     ├── CountingError     the servers' counters do not tell what happened in between
     └── ReportError       a page cannot be written

A module whose errors concern nobody else defines its own below ``StudyError``.
"""

from __future__ import annotations

from statecache.errors import StateCacheError

__all__ = ["CountingError", "ReportError", "ServersError", "StudyError", "WorkspaceError"]


class StudyError(StateCacheError):
    """The root of what the study raises."""


class ReportError(StudyError):
    """A page cannot be written, or breaks the rules of a page."""


class ServersError(StudyError):
    """The servers of a study are missing, unreachable or could not be started."""


class WorkspaceError(StudyError):
    """A study's schemas or keys are taken, not permitted, misnamed or could not be removed."""


class CountingError(StudyError):
    """Two snapshots of the servers' counters cannot be subtracted honestly."""

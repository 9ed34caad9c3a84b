"""Which of a key's commits belongs to which write.

The value of an update is unique, so its commit is found by the value. A delete has no value: its
commit is one by the same manager, behind every write that was over before it began and before
every write that began after it was over. Where several fit, the least version is taken, which
asks least of the reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from support.history_types import RAISED, Call, Commit

__all__ = ["Writes"]


class Writes:
    """One key's commits, and the writes that returned, each with the version it has at least."""

    def __init__(self, calls: Sequence[Call], commits: Sequence[Commit], gathered: bool) -> None:
        self.commits = list(commits)
        self.updates = {
            call.value: call
            for call in calls
            if call.operation == "update" and call.value is not None
        }
        self.version_of = {c.value: c.version for c in commits if c.value is not None}
        self.deleted_versions = [c.version for c in commits if c.value is None]
        self._deletes = [call for call in calls if call.operation == "delete"]
        #: The earliest time at which a version can have come into being.
        self.begun = self._begun()
        self.returned: list[tuple[Call, int]] = []
        #: Writes that returned, but belong to no commit.
        self.lost: list[Call] = []
        self._match(gathered)

    def writers_of(self, *commits: Commit) -> tuple[Call, ...]:
        """Return the updates that led to these commits."""
        found = (self.updates.get(commit.value or "") for commit in commits)
        return tuple(call for call in found if call is not None)

    def _begun(self) -> dict[int, float]:
        begun: dict[int, float] = {}
        latest = float("-inf")
        for commit in sorted(self.commits, key=lambda commit: commit.version):
            if commit.value is None:
                possible = [
                    call.started
                    for call in self._deletes
                    if call.manager == commit.manager
                    and (call.outcome == RAISED or call.ended >= latest)
                ]
                started = min(possible, default=latest)
            else:
                writer = self.updates.get(commit.value)
                started = latest if writer is None else writer.started
            begun[commit.version] = latest = max(latest, started)
        return begun

    def _match(self, gathered: bool) -> None:
        identified: list[tuple[Call, int]] = []
        unidentified = [call for call in self._deletes if call.outcome != RAISED]
        for value, call in self.updates.items():
            if value in self.version_of:
                identified.append((call, self.version_of[value]))
            elif call.outcome != RAISED:
                unidentified.append(call)
        self.returned = [(call, version) for call, version in identified if call.outcome != RAISED]
        sure = list(self.returned)
        for call in unidentified:
            low = max((v for other, v in sure if other.ended < call.started), default=0)
            if not low and (gathered or call.operation == "delete"):
                continue  # there may have been nothing to delete, also where it was gathered away
            high = min((v for other, v in identified if other.started > call.ended), default=None)
            fitting = [
                commit.version
                for commit in self.commits
                if commit.manager == call.manager
                and (gathered or (commit.value is None and call.operation == "delete"))
                and low < commit.version
                and (high is None or commit.version < high)
            ]
            if fitting:
                self.returned.append((call, min(fitting)))
            else:
                self.lost.append(call)

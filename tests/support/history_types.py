"""What a history is made of."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ACKNOWLEDGED", "RAISED", "Call", "Commit", "Violation"]

#: The outcome of a call that raised: if it was a write, it may have been committed all the same.
RAISED = "raised"
#: The outcome of a write that the cache has acknowledged.
ACKNOWLEDGED = "committed"


class Call(NamedTuple):
    """One call of a manager; times in seconds on a clock that all processes share."""

    manager: str
    #: load, update or delete
    operation: str
    key: str
    #: What was written, unique in the history, or what was read; ``None`` is no state.
    value: str | None
    started: float
    ended: float
    #: What the observer was told, or ``RAISED``.
    outcome: str
    error: str = ""

    def __str__(self) -> str:
        what = {"update": f" {self.value}", "load": f" -> {self.value}"}.get(self.operation, "")
        outcome = f"{self.outcome}: {self.error}" if self.error else self.outcome
        return (
            f"{self.started:12.4f} – {self.ended:12.4f}  {self.manager:6} {self.operation:6} "
            f"{self.key}{what} ({outcome})"
        )


class Commit(NamedTuple):
    """One version of a key, as PostgreSQL committed it; ``None`` is a delete."""

    key: str
    version: int
    value: str | None
    manager: str


class Violation(NamedTuple):
    """A broken rule, and the calls that show it."""

    rule: str
    explanation: str
    calls: tuple[Call, ...]

    def __str__(self) -> str:
        return "\n    ".join([f"{self.rule}: {self.explanation}", *map(str, self.calls)])

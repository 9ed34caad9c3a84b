"""Acknowledged writes, and whether the rows in the database bear them out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from statecache.study.errors import StudyError

__all__ = ["DELETED", "Held", "Write", "check_events", "check_rows"]

#: What a delete writes, and what a deleted row holds, in place of a number.
DELETED: Final = -1


class Write(NamedTuple):
    """An acknowledged write; no other update of the measurement has its number.

    Times are seconds of the system's monotonic clock, which all processes share.
    """

    trigger_id: str
    number: int
    began: float
    ended: float


class Held(NamedTuple):
    """What a row holds: the number that was written last, and the row's version."""

    number: int
    version: int


def check_rows(
    writes: Iterable[Write],
    before: Mapping[str, Held],
    after: Mapping[str, Held],
    *,
    absorbed: int,
) -> int:
    """Compare the rows with what was acknowledged; return the number of writes.

    A row must hold its last write: of writes that overlapped any one, but none that ended before
    another began. Each write raises its row's version by one, apart from the ``absorbed`` ones,
    which shared a statement with a later write to the same row.

    Raises ``StudyError`` where a write was lost, skipped, or counted twice.
    """
    by_row: defaultdict[str, list[Write]] = defaultdict(list)
    for write in writes:
        by_row[write.trigger_id].append(write)
    for trigger_id, held in after.items():
        _check_last(trigger_id, held, before[trigger_id], by_row.get(trigger_id, []))
    count = sum(map(len, by_row.values()))
    raised = sum(held.version - before[trigger_id].version for trigger_id, held in after.items())
    if raised + absorbed != count:
        raise StudyError(
            f"{count} writes were acknowledged, but the rows' versions rose by {raised} and "
            f"{absorbed} writes were absorbed: writes were skipped or repeated, please report this."
        )
    return count


def check_events(
    handled: Mapping[str, int], before: Mapping[str, Held], after: Mapping[str, Held]
) -> None:
    """Raise ``StudyError`` unless every state counts each of its events, and each was a write."""
    for trigger_id, held in after.items():
        was, count = before[trigger_id], handled.get(trigger_id, 0)
        counted, written = held.number - was.number, held.version - was.version
        if counted != count or written != count:
            raise StudyError(
                f"{trigger_id} handled {count} events, its state counts {counted} in {written} "
                "writes: events were lost or repeated, please report this."
            )


def _check_last(trigger_id: str, held: Held, before: Held, writes: list[Write]) -> None:
    if not writes:
        if held != before:
            raise StudyError(f"{trigger_id} was written to, but nobody says so: please report.")
        return
    last_began = max(write.began for write in writes)
    possible = {write.number for write in writes if write.ended >= last_began}
    if held.number not in possible:
        raise StudyError(
            f"{trigger_id} holds write {held.number}, but a later one was acknowledged: a write "
            "was lost, please report this."
        )

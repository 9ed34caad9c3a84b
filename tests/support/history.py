"""Judges a history of calls by the managers' consistency contract; nothing here needs a server.

A history is what several managers were asked and answered, on one clock, and what PostgreSQL
committed, in its order. The rules:

- *order*: versions of a key rise with every commit, and no write is committed twice.
- *lost*: a write that returned is among the commits.
- *invented*: what is read was committed, by a write that had begun before the read ended.
- *own*: a manager never reads older than a write of its own that returned.
- *acknowledged*: once the cache has acknowledged a write, nobody's later read is older (later by
  ``propagation_s``, where managers keep states in their own memory).
- *bound*: whatever is known to be committed is seen by everybody ``bound_s`` later.
- *final*: once all is well again, every manager reads what PostgreSQL holds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from support.history_types import ACKNOWLEDGED, RAISED, Call, Commit, Violation
from support.history_writes import Writes

__all__ = ["check", "check_final"]


def check(
    calls: Iterable[Call],
    commits: Iterable[Commit],
    *,
    bound_s: float,
    propagation_s: float = 0.0,
    gathered: bool = False,
) -> list[Violation]:
    """Return how the history breaks the contract.

    ``commits`` come in the order in which PostgreSQL took the row locks. ``gathered``: concurrent
    writes of one manager may become one, so that only the last of them is among the commits.
    """
    calls_by_key: dict[str, list[Call]] = defaultdict(list)
    commits_by_key: dict[str, list[Commit]] = defaultdict(list)
    for call in calls:
        calls_by_key[call.key].append(call)
    for commit in commits:
        commits_by_key[commit.key].append(commit)
    found: list[Violation] = []
    for key in sorted(calls_by_key.keys() | commits_by_key.keys()):
        own_calls = sorted(calls_by_key[key], key=lambda call: call.started)
        writes = Writes(own_calls, commits_by_key[key], gathered)
        found += _broken_order(writes)
        found += [
            Violation("lost", "a write returned, but was never committed", (call,))
            for call in writes.lost
        ]
        found += _Reads(own_calls, writes, bound_s, propagation_s).wrong()
    return found


def check_final(
    reads: Mapping[str, Mapping[str, str | None]], commits: Iterable[Commit]
) -> list[Violation]:
    """Return where a manager's last reads (manager → key → value) differ from PostgreSQL."""
    held = {commit.key: commit.value for commit in commits}
    return [
        Violation("final", f"{manager} reads {values.get(key)} at {key}, not {newest}", ())
        for manager, values in sorted(reads.items())
        for key, newest in sorted(held.items())
        if values.get(key) != newest
    ]


def _broken_order(writes: Writes) -> Iterator[Violation]:
    commits = writes.commits
    for one, other in pairwise(commits):
        if one.version >= other.version:
            explanation = f"{one.key} was at version {one.version}, then at {other.version}"
            yield Violation("order", explanation, writes.writers_of(one, other))
    for value, times in Counter(commit.value for commit in commits).items():
        if value is not None and value not in writes.updates:
            yield Violation("order", f"{value} was committed, but nobody wrote it", ())
        elif value is not None and times > 1:
            calls = (writes.updates[value],)
            yield Violation("order", f"{value} was committed {times} times", calls)


class _Floor:
    """The newest version that was known before some time, and the call that shows it."""

    def __init__(self, known: Iterable[tuple[float, int, Call]]) -> None:
        self._times: list[float] = []
        self._newest: list[tuple[int, Call]] = []
        version = 0
        for time, at_least, call in sorted(known, key=lambda item: item[0]):
            if at_least > version:
                version = at_least
                self._times.append(time)
                self._newest.append((version, call))

    def before(self, time: float) -> tuple[int, Call] | None:
        index = bisect_left(self._times, time)
        return self._newest[index - 1] if index else None


class _Reads:
    """The loads of one key that returned, each held against what it must at least have seen."""

    def __init__(
        self, calls: list[Call], writes: Writes, bound_s: float, propagation_s: float
    ) -> None:
        self._calls = calls
        self._writes = writes
        self._loads = [c for c in calls if c.operation == "load" and c.outcome != RAISED]
        own: dict[str, list[tuple[float, int, Call]]] = defaultdict(list)
        acknowledged, known = [], []
        for call, version in writes.returned:
            own[call.manager].append((call.ended, version, call))
            known.append((call.ended + bound_s, version, call))
            if call.outcome == ACKNOWLEDGED:
                acknowledged.append((call.ended + propagation_s, version, call))
        # Who has read it has shown that it was committed, whatever its writer knew.
        known += [
            (load.ended + bound_s, writes.version_of[load.value], load)
            for load in self._loads
            if load.value in writes.version_of
        ]
        self._own = {manager: _Floor(returned) for manager, returned in own.items()}
        self._everybodys = {"acknowledged": _Floor(acknowledged), "bound": _Floor(known)}

    def wrong(self) -> Iterator[Violation]:
        for load in self._loads:
            version = self._newest_it_can_be(load)
            if isinstance(version, Violation):
                yield version
                continue
            floors = {"own": self._own.get(load.manager)} | self._everybodys
            for rule, floor in floors.items():
                least = floor.before(load.started) if floor else None
                if least is not None and least[0] > version:
                    yield self._too_old(rule, load, version, *least)
                    break

    def _newest_it_can_be(self, load: Call) -> int | Violation:
        writes = self._writes
        if load.value is None:
            begun = (v for v in writes.deleted_versions if writes.begun[v] < load.ended)
            return max(begun, default=0)
        version = writes.version_of.get(load.value)
        writer = [call for call in (writes.updates.get(load.value),) if call is not None]
        if version is None:
            return Violation("invented", f"{load.value} was never committed", (load, *writer))
        if writes.begun[version] >= load.ended:
            explanation = f"{load.value} was read before it was written"
            return Violation("invented", explanation, (load, *writer))
        return version

    def _too_old(self, rule: str, load: Call, version: int, least: int, by: Call) -> Violation:
        ago = load.started - by.ended
        why = {
            "own": f"its own write of version {least} had returned {ago:.4f} s before",
            "acknowledged": f"the cache had acknowledged version {least} {ago:.4f} s before",
            "bound": f"version {least} had been known to be committed for {ago:.4f} s",
        }[rule]
        seen = [commit for commit in self._writes.commits if commit.version == version]
        shown = {*self._writes.writers_of(*seen), by, load}
        # What else went on that put something into the cache, the latest of it.
        since = min(call.started for call in shown)
        others = [
            call
            for call in self._calls
            if call.ended >= since and call.started <= load.ended and call.outcome != "hit"
        ]
        shown.update(others[-12:])
        explanation = f"{load.manager} read version {version} of {load.key}, but {why}"
        return Violation(rule, explanation, tuple(sorted(shown, key=lambda call: call.started)))

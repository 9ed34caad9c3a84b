"""States that the process keeps itself, as encoded bytes: callers never share an object.

The tier is right because it is told of changes, and useful only while it is: a listener
(``_async/listener.py``) hands it what other processes published, says how long it can be trusted,
and clears it when messages may have been lost. Nothing here does I/O.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeAlias

from statecache.forking import in_each_child, new_lock
from statecache.lookup import Row

__all__ = ["MemoryTier"]

#: A state that is kept: payload, version, when it expires, whether it is watched.
Held: TypeAlias = tuple[bytes, int, float, bool]

#: Changes that are remembered for the sake of loads under way.
RECENT = 8_192


class MemoryTier:
    """A bounded map of trigger_id → (payload, version), least recently used out first.

    Safe from any thread. A load that began before a change was heard of must not store what the
    change made outdated: it notes ``changes`` before it asks anybody, and hands it in with what it
    stores. ``watched`` says of which keys somebody is told whenever they are loaded; it is asked
    when a state is stored, which happens more rarely.
    """

    def __init__(
        self,
        limit: int,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
        watched: Callable[[str], bool] = lambda _trigger_id: False,
    ) -> None:
        #: How many states are kept at most; 0 is off.
        self.limit = limit
        self._ttl_s = ttl_s
        self._clock = clock
        self._watched = watched
        self._states: OrderedDict[str, Held] = OrderedDict()
        #: trigger_id → (number of the change, version), oldest first.
        self._recent: OrderedDict[str, tuple[int, int]] = OrderedDict()
        #: Loads that began before this change know too little to store anything.
        self._known_since = 0
        self._trusted_until = 0.0
        #: How many changes are known.
        self.changes = 0
        self._lock = new_lock()
        in_each_child(self.clear)  # nobody tells a forked child of changes yet

    def get(self, trigger_id: str) -> bytes | None:
        """Return the payload, or ``None`` where it has to be asked for."""
        held = self.find(trigger_id)
        return None if held is None else held[0]

    def find(self, trigger_id: str) -> Held | None:
        """Return the same with what is known of it."""
        held = self._states.get(trigger_id)
        if held is None:
            return None
        now = self._clock()
        if now >= held[2] or now >= self._trusted_until:
            return None
        try:
            self._states.move_to_end(trigger_id)
        except KeyError:  # another thread has just dropped it
            return None
        return held

    def store(self, rows: Mapping[str, Row], since: int) -> None:
        """Keep states that were asked for, or written, from when ``changes`` was ``since``.

        Where one may not be kept, an older one is not either: nobody tells a manager of what it has
        written itself.
        """
        if not self.limit:
            return
        now = self._clock()
        until = now + self._ttl_s
        states, recent = self._states, self._recent
        with self._lock:
            known = now < self._trusted_until and since >= self._known_since
            for trigger_id, (payload, version) in rows.items():
                change, held = recent.get(trigger_id), states.get(trigger_id)
                if held is not None and held[1] > version:
                    continue
                overtaken = change is not None and change[0] > since and change[1] > version
                if not known or payload is None or overtaken:
                    if held is not None and held[1] < version:
                        del states[trigger_id]
                    self._note(trigger_id, version)
                    continue
                watched = self._watched(trigger_id) if held is None else held[3]
                states[trigger_id] = (payload, version, until, watched)
                states.move_to_end(trigger_id)
                if len(states) > self.limit:
                    oldest, state = states.popitem(last=False)
                    self._note(oldest, state[1])

    def changed(self, versions: Mapping[str, int]) -> None:
        """Drop states that are older than these versions, and remember that they are."""
        if not self.limit:
            return
        states = self._states
        with self._lock:
            for trigger_id, version in versions.items():
                held = states.get(trigger_id)
                if held is not None and held[1] < version:
                    del states[trigger_id]
                self._note(trigger_id, version)

    def trust(self, until: float) -> None:
        """Hear that no change was missed so far, and that this holds until then (monotonic s)."""
        self._trusted_until = until

    def clear(self) -> None:
        """Drop everything: changes may have been missed."""
        with self._lock:
            self._trusted_until = 0.0
            self._states.clear()
            self._recent.clear()
            self.changes += 1
            self._known_since = self.changes

    def _note(self, trigger_id: str, version: int) -> None:
        """Remember that a state has this version at least, as the latest change; locked."""
        self.changes += 1
        recent = self._recent
        # Of an older message that comes later, too, the newest version is what counts.
        known = recent.pop(trigger_id, None)
        newest = version if known is None or known[1] < version else known[1]
        recent[trigger_id] = (self.changes, newest)
        if len(recent) > RECENT:
            _id, (number, _version) = recent.popitem(last=False)
            self._known_since = number

    def __len__(self) -> int:
        return len(self._states)

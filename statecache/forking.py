"""What a process begins anew after it was forked.

A forked child has its parent's objects, but of its threads only the one that forked. A lock that
another thread held stays held for ever, a background thread is not there, and a socket leads to
the same server as the parent's. All that is put right here, before the child does anything else.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["in_each_child", "in_each_process", "leave_to_parent", "new_lock"]

_parents: list[object] = []
_locks: weakref.WeakSet[Any] = weakref.WeakSet()
#: object → the method to call
_begins: weakref.WeakKeyDictionary[object, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def new_lock() -> threading.Lock:
    """Return a lock that is free in a forked child.

    What it guards may have been left half done: fit for state that this leaves usable.
    """
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def in_each_child(begin: Callable[[], None]) -> None:
    """Call an object's method in every forked child, for as long as the object lives.

    An object has one such method.
    """
    method: Any = begin
    _begins[method.__self__] = method.__func__


def in_each_process(begin: Callable[[], None]) -> None:
    """Call an object's method now, and in every forked child."""
    in_each_child(begin)
    begin()


def leave_to_parent(left: object) -> None:
    """Keep, in a child, connections and tasks that it was forked with: they are still in use.

    To close a connection that an event loop serves would take it from the parent's loop, too, and
    a task that is dropped closes its own.
    """
    _parents.append(left)


def _begin_anew() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()  # as the standard library's own modules do
    for owner, begin in list(_begins.items()):
        begin(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)

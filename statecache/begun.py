"""Coroutines that have run as far as they get without waiting."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

__all__ = ["Begun"]

T = TypeVar("T")


class Begun(Generic[T]):
    """A coroutine that runs right away until it waits for something; await this for the rest."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self._outcome: tuple[T] | tuple[()] = ()
        try:
            self._waited_for = work.send(None)
        except StopIteration as end:
            self._outcome = (end.value,)

    @property
    def is_over(self) -> bool:
        """Whether it had nothing to wait for."""
        return bool(self._outcome)

    def __await__(self) -> Generator[Any, Any, T]:
        """Return what the coroutine returns, or raise what it raises."""
        while not self._outcome:
            try:
                try:
                    sent = yield self._waited_for
                except BaseException as error:
                    self._waited_for = self._work.throw(error)
                else:
                    self._waited_for = self._work.send(sent)
            except StopIteration as end:
                self._outcome = (end.value,)
        return self._outcome[0]

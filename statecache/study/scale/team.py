"""Who does the tasks: this process, one task after another, or Dask's workers (``cluster``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import psutil

__all__ = ["Alone", "Team"]

_Result = TypeVar("_Result")

OnDone = Callable[[], None]


class Team(Protocol):
    """Workers that all see the same files."""

    @property
    def size(self) -> int:
        """Tasks that are done at a time."""

    @property
    def memory(self) -> int:
        """Bytes that a task may use, where that is least."""

    def check_sees(self, *paths: str) -> None:
        """Raise StudyError where a worker doesn't see one of these files and folders."""

    def map(
        self, task: Callable[..., _Result], arguments: Sequence[tuple[Any, ...]], on_done: OnDone
    ) -> list[_Result]:
        """Do the task once for each of the arguments; the results are in their order.

        What a task raises is raised here. ``on_done`` is called as each ends.
        """


class Alone:
    """This process."""

    size: Final = 1

    def __init__(self) -> None:
        self.memory = int(psutil.virtual_memory().available)

    def check_sees(self, *paths: str) -> None:
        """Do nothing: who lists files sees them."""

    def map(
        self, task: Callable[..., _Result], arguments: Sequence[tuple[Any, ...]], on_done: OnDone
    ) -> list[_Result]:
        """Do one after another."""
        results = []
        for one in arguments:
            results.append(task(*one))
            on_done()
        return results

"""Who does the tasks: this process, one task after another, or Dask's workers (``cluster``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import psutil

from statecache.study.errors import StudyError

__all__ = ["Alone", "Team", "chosen_team"]

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

    def __init__(self, memory: int | None = None) -> None:
        self.memory = memory or int(psutil.virtual_memory().available)

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


@contextmanager
def chosen_team(
    scheduler: str | None, workers: int | None, memory: int | None, folder: Path
) -> Iterator[Team]:
    """Yield a scheduler's workers; without one processes of this machine, or this one.

    By default there is one process a processor. Raises StudyError where Dask is missing or out of
    reach.
    """
    if scheduler is not None and workers is not None:
        raise StudyError("workers are processes of this machine: leave them out with a scheduler.")
    processes = workers or os.cpu_count() or 1
    if scheduler is None and processes == 1:
        yield Alone(memory)
        return
    try:
        from statecache.study.scale import cluster  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
            raise
        raise StudyError(
            "More than one process needs Dask: pip install 'statecache[scale]'."
        ) from error
    chosen = (
        cluster.local_team(processes, memory, folder)
        if scheduler is None
        else cluster.connected_team(scheduler)
    )
    with chosen as team:
        yield team

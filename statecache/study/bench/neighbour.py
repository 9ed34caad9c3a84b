"""A process of the benchmark's own beside it, at the other end of a pipe."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeAlias

from statecache.study.errors import StudyError

__all__ = ["Main", "running_neighbour"]

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 10.0

#: What the process runs: it is given its end of the pipe, says ``True`` once it is ready, and
#: ends when the pipe does (``EOFError``).
Main: TypeAlias = Callable[..., None]


@contextmanager
def running_neighbour(main: Main, *arguments: Any) -> Iterator[Connection]:
    """Run ``main(pipe, *arguments)`` in a process beside the block; yield this end of the pipe."""
    # Not forked: this process holds an event loop, threads and connections.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(main, theirs, *arguments), daemon=True)
    _start_deaf(process)
    theirs.close()
    try:
        _wait_until_ready(ours)
        yield ours
    finally:
        ours.close()
        process.join(END_TIMEOUT_S)
        if process.is_alive():
            process.kill()
            process.join()


def _start_deaf(process: BaseProcess) -> None:
    """Start it with Ctrl-C blocked from its first instruction on, since it inherits the mask.

    Ctrl-C reaches the whole group; the first process ends this one by closing the pipe.
    """
    resource_tracker.ensure_running()  # which would end the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(main: Main, pipe: Connection, *arguments: Any) -> None:
    try:
        main(pipe, *arguments)
    except (EOFError, BrokenPipeError):
        return


def _wait_until_ready(pipe: Connection) -> None:
    try:
        if pipe.poll(START_TIMEOUT_S):
            pipe.recv()
            return
    except EOFError:
        pass
    raise StudyError("the second process of the benchmark did not start: see what it said above.")

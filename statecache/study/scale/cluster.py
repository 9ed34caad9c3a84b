"""Dask's workers as a team: processes of this machine, or those of a scheduler that is running."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Final, TypeVar

from distributed import Client, KilledWorker, LocalCluster, Worker

import statecache
from statecache.errors import first_line
from statecache.study.errors import StudyError
from statecache.study.scale.team import OnDone

__all__ = ["DaskTeam", "connected_team", "local_team"]

_Result = TypeVar("_Result")

CONNECT_S: Final = 10.0
"""How long a scheduler may take to answer, and its first worker to be there."""

WORKER_BYTES: Final = 300 * 2**20
"""What a worker takes before it has read a row."""

NO_WORKERS_S: Final = 60.0
"""How long there may be no worker at all, halfway through."""

COUNT_EVERY_S: Final = 5.0
"""How often to look for workers where no task ends."""


@contextmanager
def local_team(workers: int, memory: int | None, folder: Path) -> Iterator[DaskTeam]:
    """Start worker processes that only this machine can reach, and end them.

    ``memory`` is bytes a worker, None for its share of the machine; what Dask writes to disk goes
    into ``folder``. A worker that uses more is ended and started again. Raises StudyError for less
    than a worker can start with.
    """
    if memory is not None and memory < 2 * WORKER_BYTES:
        raise StudyError(
            f"memory is {memory}: a process needs {2 * WORKER_BYTES} bytes, take at least those."
        )
    with ExitStack() as stack:
        with _interrupts_later():
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=workers,
                    processes=True,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address=None,
                    # its HTTP server is there without a dashboard, too: on any port, not on 8787
                    scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                    memory_limit=memory or "auto",
                    local_directory=str(folder),
                    silence_logs=logging.ERROR,
                )
            )
            client = stack.enter_context(Client(cluster, set_as_default=False))
        yield DaskTeam(client)


@contextmanager
def connected_team(address: str) -> Iterator[DaskTeam]:
    """Use the workers of a running scheduler, and leave them as they are.

    Raises StudyError where none answers, or has no worker that can import this version.
    """
    if not address.startswith(("tcp://", "tls://")):
        raise StudyError(f"The scheduler {address!r} is no address: give tcp://host:port.")
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"No scheduler answers at {address} ({first_line(error)}): start one there with "
            "`dask scheduler`, or leave it out for local processes."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError as error:
            raise StudyError(
                f"The scheduler at {address} has no worker: start one with `dask worker {address}`."
            ) from error
        yield DaskTeam(client)


class DaskTeam:
    """The workers that a client reaches."""

    def __init__(self, client: Client) -> None:
        self._client = client
        found = self._ask(_describe)
        for worker, (version, _, _) in found.items():
            if version != statecache.__version__:
                raise StudyError(
                    f"The worker {worker} has statecache {version}, this is "
                    f"{statecache.__version__}: install the same one."
                )
        self.size = sum(threads for _, threads, _ in found.values())
        left = min((limit - WORKER_BYTES) // threads for _, threads, limit in found.values())
        self.memory = max(left, 1)

    def check_sees(self, *paths: str) -> None:
        """Raise StudyError where a worker doesn't see one of these files and folders."""
        for worker, missing in self._ask(_missing, list(paths)).items():
            if missing:
                raise StudyError(
                    f"The worker {worker} does not see {missing[0]}: put the trace and the scratch "
                    "folder where all workers have them under the same path."
                )

    def map(
        self, task: Callable[..., _Result], arguments: Sequence[tuple[Any, ...]], on_done: OnDone
    ) -> list[_Result]:
        """Do the tasks on whichever worker is free; those of a worker that is lost, once more."""
        ended: SimpleQueue[Any] = SimpleQueue()
        futures: list[Any] = []
        try:
            with _interrupts_to(ended):
                futures += (self._client.submit(task, *one, pure=False) for one in arguments)
                results = {}
                for future in self._finished(futures, ended):
                    results[future.key] = future.result()
                    on_done()
            return [results[future.key] for future in futures]
        except KilledWorker as error:
            raise StudyError(
                "The same task ended four workers, most likely for want of memory: use more "
                "partitions, or workers with more memory."
            ) from error
        except CancelledError as error:
            raise StudyError(
                "The scheduler went away before the replay was done: look at its log and repeat."
            ) from error
        finally:
            self._client.cancel(futures)

    def _finished(self, futures: Sequence[Any], ended: SimpleQueue[Any]) -> Iterator[Any]:
        """Yield futures as they end; StudyError where nobody is there who could end them.

        ``ended`` is where they are put as they end, and None for Ctrl-C.
        """
        for future in futures:
            future.add_done_callback(ended.put)
        left, seen = len(futures), time.monotonic()
        while left:
            try:
                future = ended.get(timeout=COUNT_EVERY_S)
            except Empty:
                seen = self._seen_since(seen)
                continue
            if future is None:
                raise KeyboardInterrupt
            left, seen = left - 1, time.monotonic()
            yield future

    def _seen_since(self, seen: float) -> float:
        """Return when there was a worker last; StudyError where that is long ago."""
        now = time.monotonic()
        if self._client.nthreads():
            return now
        if now - seen > NO_WORKERS_S:
            raise StudyError(
                f"The scheduler has had no worker for {NO_WORKERS_S:.0f} seconds: look at the "
                "workers' logs, start them and repeat."
            )
        return seen

    def _ask(self, question: Callable[..., _Result], *arguments: Any) -> dict[str, _Result]:
        try:
            answers: dict[str, _Result] = self._client.run(question, *arguments)
        except (ImportError, AttributeError) as error:
            raise StudyError(
                f"A worker cannot run this version ({first_line(error)}): install "
                f"statecache[scale] {statecache.__version__} where the workers are."
            ) from error
        except OSError as error:
            raise StudyError(
                f"The workers do not answer ({first_line(error)}): look at their logs."
            ) from error
        return answers


def _describe(dask_worker: Worker) -> tuple[str, int, int]:
    """Tell a worker's version, threads and bytes of memory; Dask passes the worker in."""
    import psutil  # noqa: PLC0415 - on the worker

    limit = dask_worker.memory_manager.memory_limit or psutil.virtual_memory().total
    return statecache.__version__, dask_worker.state.nthreads, int(limit)


def _missing(paths: list[str]) -> list[str]:
    return [path for path in paths if not Path(path).exists()]


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block, and for good from processes started in it.

    At a terminal it reaches them all: they are ended by whoever started them, not each by itself.
    """
    resource_tracker.ensure_running()  # which would let signals through again where it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _interrupts_to(ended: SimpleQueue[Any]) -> Iterator[None]:
    """Have Ctrl-C put None into the queue, and raise KeyboardInterrupt at the latest at the end.

    Raised wherever the main thread is, KeyboardInterrupt may be lost: Dask has the garbage
    collector call functions, and what they raise is only written to the log. At the end it must be
    raised where the block did not wait for what is in the queue any more.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    interrupted = False

    def remember(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        ended.put(None)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt

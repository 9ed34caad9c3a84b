"""Dask clusters on this machine, and the processes that are their workers."""

from __future__ import annotations

import logging

import psutil
from distributed import LocalCluster


def a_cluster(workers: int) -> LocalCluster:
    """Start what somebody else would run: a scheduler and its workers."""
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        silence_logs=logging.ERROR,
    )


def worker_processes() -> list[psutil.Process]:
    """Return the processes that do tasks, not the one that multiprocessing keeps."""
    return [child for child in psutil.Process().children(recursive=True) if _does_tasks(child)]


def _does_tasks(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has ended, as a zombie may have
        return False

"""Imported by Dask in each worker process that is started here."""

import signal

__all__ = ["dask_setup"]


def dask_setup(worker: object) -> None:
    """Leave Ctrl-C, which reaches all processes of a terminal, to the one that ends the others."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)

"""What the managers log while somebody listens."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collected_log"]


@contextmanager
def collected_log() -> Iterator[list[str]]:
    """Collect the lines that the managers log during the block instead of showing them."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("statecache")
    propagated = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield lines
    finally:
        log.propagate = propagated
        log.removeHandler(handler)

"""Progress of a sweep: to the runner's bar through a small file, or to a bar of its own.

A notebook's kernel has no terminal; the runner names a file in ``STATECACHE_PROGRESS`` and reads
it twice a second.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

__all__ = ["PROGRESS_FILE", "Reporter", "read_progress", "report_progress"]

PROGRESS_FILE = "STATECACHE_PROGRESS"

#: Between two writes of the file, in seconds.
EVERY_S = 0.2


class Reporter(Protocol):
    """Is told the share that is done, 0 to 1, and what is being done."""

    def __call__(self, share: float, what: str) -> None:
        """Report."""


@contextmanager
def report_progress() -> Iterator[Reporter]:
    """Yield where a sweep reports to: the runner's file, or else a bar on standard error."""
    path = os.environ.get(PROGRESS_FILE)
    if path:
        yield _to_file(Path(path))
        return
    with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:

        def to_bar(share: float, what: str) -> None:
            bar.set_description(what, refresh=False)
            bar.update(share * 100 - bar.n)

        yield to_bar


def read_progress(path: Path) -> tuple[float, str]:
    """Return the share and the description that were written last; (0, "") before the first."""
    try:
        share, what = json.loads(path.read_text())
    except (OSError, ValueError):
        return 0.0, ""
    return float(share), str(what)


def _to_file(path: Path) -> Reporter:
    written = -EVERY_S

    def report(share: float, what: str) -> None:
        nonlocal written
        now = time.monotonic()
        if now - written < EVERY_S and share < 1:
            return
        written = now
        part = path.with_suffix(".part")
        part.write_text(json.dumps([share, what]))
        part.replace(path)

    return report

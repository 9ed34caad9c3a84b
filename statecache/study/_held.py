"""Processes of ours that live as long as this end of a pipe is open, and no longer.

The pipe is their stdin. It closes when this process ends, for whatever reason, so a normal end, an
exception, Ctrl-C and SIGKILL are all one to them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

__all__ = ["held_process"]


@contextmanager
def held_process(
    script: str, *arguments: str, stderr: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a script beside the block; when the block is left its stdin ends, and it is waited for.

    ``stdin`` and ``stdout`` are unbuffered pipes. The script is run by its path and isolated: no
    import of statecache, nothing from the working folder.
    """
    process = subprocess.Popen(  # noqa: S603 - our own file
        [sys.executable, "-I", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        # A terminal's Ctrl-C reaches neither it nor its children.
        start_new_session=True,
        bufsize=0,
    )
    assert process.stdin is not None  # noqa: S101 - for the type checker
    _pipes.add(process.stdin)
    try:
        with process:
            try:
                yield process
            finally:
                process.stdin.close()
    finally:
        _pipes.discard(process.stdin)


#: Close-on-exec keeps them from other programs; a forked copy of this process must not hold
#: anything up either.
_pipes: set[IO[bytes]] = set()


def _release() -> None:
    for pipe in _pipes:
        pipe.close()
    _pipes.clear()


os.register_at_fork(after_in_child=_release)

"""What the commands share: where they print, and what goes wrong before they begin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from statecache.errors import StateCacheError

__all__ = ["UsageError", "err", "out", "study_installed"]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class UsageError(StateCacheError):
    """The command line is wrong; exit code 2."""


@contextmanager
def study_installed(extra: str = "study") -> Iterator[None]:
    """Say what to install where an import inside the block needs a package that is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("statecache"):
            raise
        raise UsageError(
            f"the study needs the package {error.name}: pip install 'statecache[{extra}]'."
        ) from error

"""The command line: ``statecache init-db``, ``statecache study …``.

Exit codes: 0 done, 1 the answer is no or something failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; say in one sentence what to install where that is missing."""
    try:
        from statecache._commands import run  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich", "click"):
            raise
        sys.exit("statecache: the command line needs more packages: pip install 'statecache[cli]'.")
    sys.exit(run())

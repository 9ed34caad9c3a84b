"""Where the project's folders are."""

from __future__ import annotations

from pathlib import Path

from statecache.study.errors import StudyError

__all__ = ["find_root"]


def find_root(start: Path | None = None) -> Path:
    """Return the checkout's root: the folder upwards that holds notebooks and experiments.

    Raises ``StudyError`` where there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "experiments").is_dir() and (folder / "notebooks").is_dir():
            return folder
    raise StudyError(f"{start} is not inside a checkout of statecache: change into one first.")

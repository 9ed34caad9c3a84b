"""A run on disk: one folder, plain files, no secrets.

::

    results/<study>-<UTC time>/
      run.json                       what was run, on what, with which parameters, and its status
      verdicts.json                  the answer, verdicts, limits and figures for the index page
      <notebook>.ipynb  .html        executed, and as a page
      <notebook>.measurements.parquet  <notebook>.histograms.parquet
      cells/<notebook>/<cell>.parquet  each measured cell, written as it ends
      index.html
"""

from __future__ import annotations

import difflib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from statecache.errors import first_line
from statecache.study.checkout import find_root
from statecache.study.errors import StudyError

__all__ = [
    "FORMAT",
    "UNFINISHED",
    "UNREADABLE",
    "NoSuchRun",
    "RunFolder",
    "find_run",
    "newest_unfinished",
    "utc_now",
]

#: What a run that can be resumed may say of itself; "running" where it was killed.
UNFINISHED: Final = ("running", "interrupted", "failed")

#: What run.json holds by name.
MAPPINGS: Final = ("machine", "overrides", "packages", "parameters", "servers")

#: What reading a damaged parquet file raises, depending on which of its bytes are wrong.
UNREADABLE: Final = (OSError, ValueError, LookupError, TypeError, pa.ArrowException)

#: Version of run.json, verdicts.json and the parquet files.
FORMAT: Final = 1


class NoSuchRun(StudyError):  # noqa: N818 - it says what is wrong
    """No run is of this name."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run; every file is replaced whole, so a reader never sees half of one."""

    path: Path

    @classmethod
    def create(cls, results: Path, study: str, started: str) -> RunFolder:
        """Make ``results/<study>-<UTC time>``; a second run within a second gets a suffix."""
        stamp = started.translate({ord("-"): None, ord(":"): None})
        for suffix in ("", *(f"-{n}" for n in range(2, 100))):
            path = results / f"{study}-{stamp}{suffix}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise StudyError(
                    f"the run folder {path} cannot be made ({error.strerror}): choose another "
                    "with --results."
                ) from error
            return cls(path)
        raise StudyError(f"the folder {results} holds 99 runs of this second: wait a moment.")

    @classmethod
    def open(cls, run_dir: str, notebook: str) -> RunFolder:
        """Return the folder the runner made, or a new one for a notebook that is run by hand."""
        started = utc_now()
        if run_dir:
            Path(run_dir).mkdir(parents=True, exist_ok=True)
            folder = cls(Path(run_dir))
            if (folder.path / "run.json").exists():
                return folder
        else:
            folder = cls.create(find_root() / "results", f"{notebook}-by-hand", started)
        folder.update_run(study=f"{notebook}-by-hand", status="by hand", started=started)
        return folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one process. Raises ``StudyError`` where another one holds it."""
        path = self.path / ".lock"
        try:
            opened = path.open("w")
        except OSError as error:
            raise _not_written(path, error) from error
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StudyError(f"{self.path} is being worked on by another process.") from error
            yield

    def write_text(self, name: str, text: str) -> None:
        """Write a text file in the folder."""
        self._replace(self.path / name, lambda part: part.write_text(text, encoding="utf-8"))

    @property
    def study(self) -> str:
        """Name of the study that was run."""
        return str(self.read_run().get("study", self.path.name))

    def read_run(self) -> dict[str, Any]:
        """Return run.json. Raises ``StudyError`` where it is missing or not ours."""
        try:
            run = json.loads((self.path / "run.json").read_text())
        except (OSError, ValueError) as error:
            raise StudyError(
                f"{self.path} is not the folder of a run (its run.json cannot be read: {error})."
            ) from error
        if not isinstance(run, dict) or run.get("format") != FORMAT:
            raise StudyError(f"{self.path / 'run.json'} is not of format {FORMAT}.")
        if wrong := [name for name in MAPPINGS if not isinstance(run.get(name, {}), dict)]:
            raise StudyError(f"{self.path / 'run.json'} holds {wrong[0]} that are no mapping.")
        return run

    def update_run(self, **changes: Any) -> None:
        """Write run.json with these fields changed."""
        known = self.read_run() if (self.path / "run.json").exists() else {"format": FORMAT}
        self._write_json("run.json", known | changes)

    def read_verdicts(self) -> dict[str, Any]:
        """Return verdicts.json, empty where no notebook has come to a verdict.

        Raises ``StudyError`` where it cannot be read.
        """
        path = self.path / "verdicts.json"
        if not path.exists():
            return {}
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StudyError(
                f"{path} cannot be read ({first_line(error)}): remove it and run with --resume."
            ) from error

    def write_verdicts(self, verdicts: Mapping[str, Any]) -> None:
        """Write verdicts.json: answer, verdicts, limits, figures (see the report)."""
        self._write_json("verdicts.json", {"format": FORMAT} | dict(verdicts))

    def write_frame(self, name: str, frame: pd.DataFrame) -> None:
        """Write ``<name>.parquet`` in the folder."""
        self._replace(self.path / f"{name}.parquet", frame.to_parquet)

    def read_cell(self, notebook: str, cell: str) -> pd.DataFrame | None:
        """Return a cell that was measured before; ``None`` where there is none that can be read.

        A file that a crash of the machine left half written is measured again, and so is one in
        which a bit is wrong: its pages have checksums.
        """
        try:
            return pd.read_parquet(self._cell(notebook, cell), page_checksum_verification=True)
        except UNREADABLE:
            return None

    def write_cell(self, notebook: str, cell: str, frame: pd.DataFrame) -> None:
        """Keep a measured cell: it survives an interruption."""
        path = self._cell(notebook, cell)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_written(path, error) from error
        self._replace(path, partial(frame.to_parquet, write_page_checksum=True))

    def count_cells(self) -> int:
        """Return the number of measured cells that are kept."""
        return sum(1 for _ in self.path.glob("cells/*/*.parquet"))

    def _cell(self, notebook: str, cell: str) -> Path:
        return self.path / "cells" / notebook / f"{cell}.parquet"

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        self.write_text(name, text + "\n")

    @staticmethod
    def _replace(path: Path, write: Callable[[Path], Any]) -> None:
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            write(part)
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> StudyError:
    # What pyarrow raises may know its reason by number only.
    reason = os.strerror(error.errno) if error.errno else first_line(error)
    return StudyError(f"{path} cannot be written ({reason}): make room or permit it.")


def newest_unfinished(results: Path, study: str) -> RunFolder:
    """Return the newest run of the study that was interrupted, failed or killed.

    Raises ``StudyError`` where there is none.
    """
    for path in sorted(results.glob(f"{study}-*"), reverse=True):
        folder = RunFolder(path)
        try:
            run = folder.read_run()
        except StudyError:
            continue
        if run.get("study") == study and run.get("status") in UNFINISHED:
            return folder
    raise StudyError(
        f"no unfinished run of {study!r} stands in {results}: start one without --resume."
    )


def find_run(results: Path, name: str) -> RunFolder:
    """Return the run in the folder ``name``, or of that name below ``results``.

    Raises ``NoSuchRun`` where there is none.
    """
    for path in (Path(name), results / name):
        if (path / "run.json").is_file():
            return RunFolder(path)
    known = sorted(path.parent.name for path in results.glob("*/run.json"))
    near = difflib.get_close_matches(name, known, n=1)
    choice = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}."
    raise NoSuchRun(f"no run is called {name!r}: {choice if known else f'{results} holds none.'}")


def utc_now() -> str:
    """Return the time in UTC to the second, as ``2026-01-31T12:00:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

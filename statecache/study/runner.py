"""Run an experiment: servers up, notebooks executed one after the other, pages rendered."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nbclient.exceptions
import papermill.exceptions
import psycopg
import redis

from statecache.errors import StateCacheError, first_line
from statecache.study import environment
from statecache.study.errors import ReportError, StudyError
from statecache.study.experiments import Experiment, NotebookRun, load_experiment
from statecache.study.kernel import execute
from statecache.study.progress import PROGRESS_FILE, read_progress
from statecache.study.report import render_notebook, render_results_index, render_run
from statecache.study.runfolder import RunFolder, newest_unfinished, utc_now
from statecache.study.servers import Servers, describe, running_servers
from statecache.study.verdicts import LEVEL
from statecache.study.workspace import TOKEN, clean_up, new_token

__all__ = ["Outcome", "resume_study", "run_study", "summary_lines"]

#: In what a notebook's own check of its measurements says; what is wrong there stays wrong.
CHECK: Final = "AssertionError"

#: Told the share that is done, 0 to 1, and what is being done.
OnProgress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: its folder, the index page and, where a notebook failed, why.

    There is no page where the disk is full, say. ``advice`` says how to go on, if one can.
    """

    folder: RunFolder
    page: Path | None
    failure: str | None = None
    advice: str | None = None


def run_study(
    name: str,
    root: Path,
    results: Path,
    overrides: Mapping[str, Any],
    on_progress: OnProgress,
) -> Outcome:
    """Run the experiment ``name`` in a folder of its own below ``results``.

    Raises ``ExperimentError`` before anything starts, ``StudyError`` where servers or files fail.
    An interruption (``KeyboardInterrupt``) leaves the measured cells and the status
    ``interrupted``, and is raised again.
    """
    experiment = load_experiment(name, root, overrides)
    started = utc_now()
    folder = RunFolder.create(results, name, started)
    words = ["statecache", "study", "run", name]
    for key, value in overrides.items():
        words += ["-p", f"{key}={value}"]
    folder.update_run(
        study=name, started=started, command=shlex.join(words), overrides=dict(overrides)
    )
    return _execute(experiment, folder, root, on_progress)


def resume_study(name: str, root: Path, results: Path, on_progress: OnProgress) -> Outcome:
    """Go on with the newest unfinished run of ``name``; measured cells are not measured again."""
    folder = newest_unfinished(results, name)
    experiment = load_experiment(name, root, folder.read_run().get("overrides", {}))
    return _execute(experiment, folder, root, on_progress)


def summary_lines(folder: RunFolder) -> list[str]:
    """Return the answer and the verdicts of a run, a line each, for a terminal."""
    found = folder.read_verdicts()
    judged = [
        f"{row['verdict']}: {row['claim']} (measured {row['measured']}, "
        f"{100 * LEVEL:.0f} % interval {row['interval']}, profile {row['profile']})"
        if row["measured"]
        else f"{row['verdict']}: {row['claim']} (not measured)"
        for row in found.get("verdicts", [])
    ]
    return [*map(str, found.get("answer", [])), *judged]


def _execute(
    experiment: Experiment, folder: RunFolder, root: Path, on_progress: OnProgress
) -> Outcome:
    failure, page = None, None
    status = "failed"
    with folder.locked():
        folder.update_run(status="running", finished=None, **_set_up(experiment, root))
        try:
            on_progress(0.0, "starting the servers")
            with running_servers() as servers:
                folder.update_run(servers=describe(servers))
                count = len(experiment.notebooks)
                for number, run in enumerate(experiment.notebooks):

                    def on_share(share: float, what: str, done: int = number) -> None:
                        on_progress((done + share) / count, what)

                    failure = _run_notebook(run, folder, root, servers, on_share)
                    if failure is not None:
                        break
            if failure is None:
                status = "complete"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except StateCacheError as error:
            if advice := _advice(experiment, folder):
                error.add_note(advice)
            raise
        finally:
            try:
                page = _finish(folder, status)
            except StudyError:
                if status == "complete":
                    raise
                # What has ended the run is the news, not what follows from it.
    advice = None if failure is None or CHECK in failure else _advice(experiment, folder)
    return Outcome(folder, page, failure, advice)


def _advice(experiment: Experiment, folder: RunFolder) -> str | None:
    """Return how to go on, ``None`` where that is no better than to begin again."""
    if not folder.count_cells():
        return None
    return f"What was measured is kept: statecache study run {experiment.name} --resume goes on."


def _finish(folder: RunFolder, status: str) -> Path:
    folder.update_run(status=status, finished=utc_now())
    page = render_run(folder.path)
    render_results_index(folder.path.parent)
    return page


def _set_up(experiment: Experiment, root: Path) -> dict[str, Any]:
    """Return what run.json says of the experiment and of what it runs on, as it is now."""
    return {
        "title": experiment.title,
        "parameters": {run.part: run.parameters for run in experiment.notebooks},
        "notebooks": [
            {"name": run.part, "title": run.title, "summary": run.summary}
            for run in experiment.notebooks
        ],
        "profile": "loopback",
        "git_commit": environment.git_commit(root),
        "packages": environment.packages(),
        "machine": environment.machine(),
    }


def _run_notebook(
    run: NotebookRun, folder: RunFolder, root: Path, servers: Servers, on_progress: OnProgress
) -> str | None:
    """Execute and render one notebook; return why it failed, ``None`` where it did not."""
    executed = folder.path / f"{run.part}.ipynb"
    token = new_token()
    # Where SQL and keys go that an interrupted kernel could not remove: the runner does.
    variables = servers.environment() | {TOKEN: token}
    failure = None
    try:
        with _watched(folder, on_progress) as progress, _environment(variables | progress):
            execute(run.path, executed, run.parameters | {"run_dir": str(folder.path)}, cwd=root)
    except papermill.exceptions.PapermillExecutionError as error:
        failure = f"{run.part}: {error.ename}: {error.evalue}"
    except (nbclient.exceptions.DeadKernelError, nbclient.exceptions.CellTimeoutError) as error:
        failure = f"{run.part}: {type(error).__name__}: {first_line(error)}."
    except OSError as error:
        reason = error.strerror or first_line(error)
        failure = f"{run.part}: {executed} cannot be written ({reason}): make room or permit it."
    finally:
        left = _left_behind(servers, token)
    failure = " ".join(filter(None, [failure, left])) or None
    on_progress(1.0, f"rendering {run.part}")
    try:
        render_notebook(executed, folder.path / f"{run.part}.html", title=run.title)
    except ReportError:
        if failure is None:
            raise
    return failure


def _left_behind(servers: Servers, token: str) -> str | None:
    """Remove what the notebook could not remove; return what is left, ``None`` if nothing is."""
    try:
        clean_up(servers, token)
    except (StateCacheError, psycopg.Error, redis.RedisError) as error:
        if servers.embedded:  # what they hold ends with them
            return None
        return (
            f"Schemas and keys of this run (statecache_study_{token}_*, statecache:study:{token}:*)"
            f" may be left: remove them by hand ({first_line(error)})."
        )
    return None


@contextmanager
def _watched(folder: RunFolder, on_progress: OnProgress) -> Iterator[dict[str, str]]:
    """Pass on what the notebook reports; yields the variables that make it report."""
    path = folder.path / ".progress"
    path.unlink(missing_ok=True)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            on_progress(*read_progress(path))

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield {PROGRESS_FILE: str(path)}
    finally:
        over.set()
        watcher.join()
        path.unlink(missing_ok=True)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the kernel, which inherits them; passwords go no other way."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

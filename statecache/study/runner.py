"""Run an experiment: servers up, notebooks executed one after the other, pages rendered."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbclient.exceptions
import papermill.exceptions

from statecache.study import environment
from statecache.study.experiments import Experiment, NotebookRun, load_experiment
from statecache.study.kernel import execute
from statecache.study.progress import PROGRESS_FILE, read_progress
from statecache.study.report import render_notebook, render_results_index, render_run
from statecache.study.runfolder import RunFolder, newest_unfinished, utc_now
from statecache.study.servers import Servers, describe, running_servers
from statecache.study.verdicts import LEVEL
from statecache.study.workspace import TOKEN, clean_up, new_token

__all__ = ["Outcome", "resume_study", "run_study", "summary_lines"]

#: Told the share that is done, 0 to 1, and what is being done.
OnProgress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: its folder, the index page and, where a notebook failed, why."""

    folder: RunFolder
    page: Path
    failure: str | None = None


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
    failure = None
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
        finally:
            folder.update_run(status=status, finished=utc_now())
            page = render_run(folder.path)
            render_results_index(folder.path.parent)
    return Outcome(folder, page, failure)


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
        failure = f"{run.part}: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    finally:
        clean_up(servers, token)
    on_progress(1.0, f"rendering {run.part}")
    render_notebook(executed, folder.path / f"{run.part}.html", title=run.title)
    return failure


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

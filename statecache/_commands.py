"""The commands; imported only where the extra ``cli`` is installed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import statecache
from statecache import _advise_commands, _run_commands, _trace_commands
from statecache._sync.cached_state_manager import CachedStateManager
from statecache._terminal import UsageError, err, out, study_installed
from statecache.config import CacheConfig, url_from_env
from statecache.errors import ConfigError, StateCacheError
from statecache.schema import init_db

if TYPE_CHECKING:
    from statecache.study.runner import OnProgress, Outcome

__all__ = ["run"]

INTERRUPTED = 130

#: Of a stream of which more is malformed, the format was probably mistaken.
MOST_MALFORMED = 0.1

#: Orders of rounds and draws of keys; kept, so that two runs do the same.
BENCH_SEED = 20130204

app = typer.Typer(
    help="Trigger state in PostgreSQL, cached in Redis: the manager's tools and the study.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
study = typer.Typer(help="Measure what a TTL is worth.", no_args_is_help=True)
app.add_typer(study, name="study")
_run_commands.register(study)
_advise_commands.register(app)
_trace_commands.register(app)


def run() -> int:
    """Run the command line and return the exit code."""
    try:
        app()
    except SystemExit as ended:  # how the parser ends, with 2 for wrong usage
        return ended.code if isinstance(ended.code, int) else 0
    except StateCacheError as error:
        err.print(f"statecache: {error}", markup=False)
        for note in getattr(error, "__notes__", ()):
            err.print(note, markup=False)
        return 2 if _is_usage(error) else 1
    return 0


def _is_usage(error: StateCacheError) -> bool:
    # The experiments' own error stands in the study, which may not be installed.
    return isinstance(error, ConfigError | UsageError) or type(error).__name__ == "ExperimentError"


@app.command("init-db")
def init_db_command(
    database_url: Annotated[
        str | None, typer.Argument(help="Address; default: DATABASE_URL.", show_default=False)
    ] = None,
    schema: Annotated[
        str | None, typer.Option(help="Schema of the table; default: STATE_CACHE_SCHEMA or public.")
    ] = None,
    outside_writes: Annotated[
        bool | None,
        typer.Option(
            help="Also catch writes made behind the managers' backs; default: leave it as it is.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Create or bring up to date the table trigger_state; safe to repeat."""
    chosen = schema or CacheConfig.from_env().schema
    url = database_url or url_from_env("DATABASE_URL")
    version = init_db(url, schema=chosen, outside_writes=outside_writes)
    out.print(f"The table {chosen}.trigger_state is at version {version}.")


@app.command("verify")
def verify_command(
    sample: Annotated[int, typer.Option(min=1, help="How many cached states to compare.")] = 1_000,
) -> None:
    """Compare cached states with PostgreSQL; exit 1 where one differs.

    Servers and settings are those of DATABASE_URL, REDIS_URL and STATE_CACHE_*.
    """
    config = CacheConfig.from_env()
    if not config.enabled:
        raise ConfigError("STATE_CACHE_ENABLED is false: there is no cache to verify.")
    with CachedStateManager.from_env() as manager:
        found = manager.verify(sample)
        errors = manager.get_cache_stats().errors_by_reason
    for one in found.differences:
        out.print(
            f"{one.kind}: {one.trigger_id!r} is cached at version {one.cached_version}, "
            f"PostgreSQL has {one.database_version}",
            markup=False,
        )
    out.print(f"{found.checked} cached states compared, {len(found.differences)} differ.")
    if not found.complete:
        raise StateCacheError(f"the cache did not answer to the end ({errors}): is it up?")
    if found.differences:
        raise typer.Exit(1)


@app.command("version")
def version_command() -> None:
    """Print the version."""
    out.print(statecache.__version__)


@study.command("list")
def list_command() -> None:
    """List the experiments that can be run."""
    with study_installed():
        from statecache.study.checkout import find_root
        from statecache.study.experiments import list_experiments
    experiments = list_experiments(find_root() / "experiments")
    width = max(map(len, experiments), default=0)
    for name, title in experiments.items():
        out.print(f"{name:{width}}  {title}", markup=False)


@study.command("run")
def run_command(
    name: Annotated[str, typer.Argument(help="An experiment; see `statecache study list`.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", help="name=value, or notebook.name=value; repeatable."),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(
            help="A recorded stream that takes the place of the drawn requests; what needs "
            "--columns is first converted by `statecache trace`.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest unfinished run.")
    ] = False,
    results: Annotated[
        Path | None, typer.Option(help="Where run folders go; default: results/ of the checkout.")
    ] = None,
) -> None:
    """Run an experiment and write its report."""
    with study_installed():
        from statecache.study.checkout import find_root
        from statecache.study.experiments import parse_override
        from statecache.study.runner import resume_study, run_study
        from statecache.study.traces import TraceError, read_recording
    if resume and (parameter or trace):
        raise UsageError(
            "--resume goes on with the run's own parameters: leave out -p and --trace."
        )
    root = find_root()
    folder = results or root / "results"
    overrides = dict(parse_override(text) for text in parameter or [])
    if trace is not None:
        try:
            recording = read_recording(trace)
        except TraceError as error:
            raise UsageError(str(error)) from error
        if not len(recording.trace):
            raise UsageError(f"{trace} holds no operation: give a stream that was recorded.")
        if recording.malformed > MOST_MALFORMED * recording.lines:
            raise UsageError(
                f"{recording.malformed} of {recording.lines} lines of {trace} cannot be read as "
                f"{recording.format}: convert it with `statecache trace`, which can be told more."
            )
        overrides["trace"] = str(Path(trace).resolve()) if Path(trace).exists() else trace
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as cleanly as Ctrl-C
    try:
        with _progress() as on_progress:
            if resume:
                outcome = resume_study(name, root, folder, on_progress)
            else:
                outcome = run_study(name, root, folder, overrides, on_progress)
    except KeyboardInterrupt:
        err.print(
            "Interrupted; what was measured is kept. "
            f"Go on with: statecache study run {name} --resume"
        )
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(_print_outcome(outcome))


@study.command("bench")
def bench_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="What to measure; default: all.", show_default=False
        ),
    ] = None,
    json_path: Annotated[
        Path | None,
        typer.Option("--json", help="Where the figures go; default: results/bench-<time>.json."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="See that it works; too short to decide anything.")
    ] = False,
) -> None:
    """Measure the managers against what they are to beat."""
    with study_installed("bench"):
        from statecache.study.bench.report import Report
        from statecache.study.bench.run import BENCHES, run_benches
        from statecache.study.checkout import find_root
        from statecache.study.progress import report_progress
        from statecache.study.servers import describe, running_servers
    for name in names or []:
        if name not in BENCHES:
            raise UsageError(f"no benchmark is called {name!r}: take {', '.join(BENCHES)}.")
    chosen = [name for name in BENCHES if not names or name in names]
    root = find_root()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as cleanly as Ctrl-C
    with running_servers() as servers:
        report = Report(quick, BENCH_SEED, describe(servers))
        try:
            with report_progress() as progress:
                run_benches(chosen, servers, report, progress)
        except KeyboardInterrupt:
            err.print("Interrupted; what was measured is kept.")
    report.print(out)
    stamp = report.started.translate({ord("-"): None, ord(":"): None})
    path = json_path or root / "results" / f"bench-{stamp}.json"
    report.write(path, root)
    out.print(f"Figures: {path}", markup=False)
    codes = {"complete": 0, "failed": 1, "interrupted": INTERRUPTED}
    raise typer.Exit(codes[report.status])


@study.command("lab", context_settings={"ignore_unknown_options": True})
def lab_command(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Passed on to JupyterLab.", show_default=False)
    ] = None,
) -> None:
    """Open JupyterLab on the notebooks, with the servers running."""
    with study_installed():
        from statecache.study.checkout import find_root
        from statecache.study.servers import running_servers
    command = [sys.executable, "-m", "jupyterlab", str(find_root() / "notebooks")]
    if os.geteuid() == 0:  # in a container, say; JupyterLab refuses root unless told
        command.append("--allow-root")
    with running_servers() as servers:
        lab = subprocess.Popen(  # noqa: S603
            [*command, *(arguments or [])], env=os.environ | servers.environment()
        )
        # A terminal's Ctrl-C reaches the lab, too, which asks and then ends: wait for it.
        while True:
            try:
                raise typer.Exit(lab.wait())
            except KeyboardInterrupt:
                continue


def _print_outcome(outcome: Outcome) -> int:
    from statecache.study.runner import summary_lines

    for line in summary_lines(outcome.folder):
        out.print(line, markup=False)
    if outcome.failure is not None:
        err.print(f"statecache: {outcome.failure}", markup=False)
    if outcome.advice is not None:
        err.print(outcome.advice, markup=False)
    if outcome.page is not None:
        try:
            page = outcome.page.resolve().relative_to(Path.cwd().resolve())
        except ValueError:
            page = outcome.page
        out.print(f"Report: {page}", markup=False)
    return 0 if outcome.failure is None else 1


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """Yield where progress goes: a bar on a terminal, a line a quarter elsewhere."""
    if not err.is_terminal:
        yield _quarters()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda share, what: bar.update(task, completed=share, description=what or "running")


def _quarters() -> OnProgress:
    told = -1

    def on_progress(share: float, what: str) -> None:
        nonlocal told
        if int(share * 4) > told:
            told = int(share * 4)
            err.print(f"{share:4.0%}  {what}".rstrip(), markup=False)

    return on_progress

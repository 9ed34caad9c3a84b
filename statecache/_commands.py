"""The commands; imported only where the extra ``cli`` is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

import statecache
from statecache import _advise_commands, _run_commands, _study_commands, _trace_commands
from statecache._sync.cached_state_manager import CachedStateManager
from statecache._terminal import UsageError, err, out
from statecache.config import CacheConfig, url_from_env
from statecache.errors import ConfigError, StateCacheError
from statecache.schema import init_db

if TYPE_CHECKING:
    pass

__all__ = ["run"]

app = typer.Typer(
    help="Trigger state in PostgreSQL, cached in Redis: the manager's tools and the study.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
study = typer.Typer(help="Measure what a TTL is worth.", no_args_is_help=True)
app.add_typer(study, name="study")
_study_commands.register(study)
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

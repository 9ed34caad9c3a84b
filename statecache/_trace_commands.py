"""The command on recorded streams: ``statecache trace``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from statecache._terminal import UsageError, out, study_installed

if TYPE_CHECKING:
    from statecache.study.traces import Recording

__all__ = ["parse_columns", "register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``statecache``."""
    app.command("trace")(trace_command)


def trace_command(
    file: Annotated[
        str,
        typer.Argument(
            help="A recorded stream, a folder of parquet files, or a name: flights, synthetic:…."
        ),
    ],
    *,
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="Its format; default: recognised.", show_default=False),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="For CSV and parquet: ours=theirs, by name or number from 1, as in "
            "time_ms=when,key=id,op=,size=4.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a file with a malformed line; exit 2.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write it as parquet.", show_default=False),
    ] = None,
) -> None:
    """Show what a recorded stream holds; with --output, convert it to parquet."""
    with study_installed():
        from statecache.study.progress import report_progress
        from statecache.study.traces import TraceError, read_recording, write_trace
    chosen = parse_columns(columns)
    try:
        with report_progress() as progress:
            recording = read_recording(
                file, format_name, chosen, strict=strict, on_progress=progress
            )
    except TraceError as error:
        raise UsageError(str(error)) from error
    out.print(_table(recording))
    if output is not None:
        write_trace(recording.trace, output)
        out.print(f"Written: {output}", markup=False)


def parse_columns(text: str | None) -> dict[str, str | None] | None:
    """Read ``ours=theirs,…``; nothing after the equals sign says that there is none."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if wrong := [ours for ours, equals, _ in pairs if not (ours.strip() and equals)]:
        raise UsageError(f"--columns has {wrong[0]!r}: write ours=theirs, as in time_ms=when.")
    return {ours.strip(): theirs or None for ours, _, theirs in pairs}


def _table(recording: Recording) -> Table:
    from statecache.study.traces.facts import facts

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in facts(recording).items():
        table.add_row(name, value)
    return table

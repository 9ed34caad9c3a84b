"""The command ``advise``: which TTL to run for a recorded stream, within limits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from statecache._terminal import UsageError, err, out, study_installed
from statecache._trace_commands import parse_columns

if TYPE_CHECKING:
    from statecache.study.advisor.advice import Advice
    from statecache.study.advisor.groups import Groups
    from statecache.study.advisor.limits import Limits
    from statecache.study.traces import Recording
    from statecache.study.traces.rows import Tally as Lines

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``statecache``."""
    app.command("advise")(advise_command)


def advise_command(
    trace: Annotated[
        str,
        typer.Argument(
            metavar="TRACE", help="A recorded stream, a folder of parquet files, or `flights`."
        ),
    ],
    *,
    max_db_qps: Annotated[
        float | None,
        typer.Option(help="PostgreSQL statements a second at most.", show_default=False),
    ] = None,
    min_hit_rate: Annotated[
        str | None,
        typer.Option(help="Share of the reads to hit at least, as 80%.", show_default=False),
    ] = None,
    max_staleness: Annotated[
        str | None,
        typer.Option(
            help="How stale at most: of the hits, as 1% (with --bypass-share), or for how long, "
            "as 30s.",
            show_default=False,
        ),
    ] = None,
    bypass_share: Annotated[
        str, typer.Option(help="Share of the writes that never reach the cache, as 5%.")
    ] = "0%",
    max_memory: Annotated[
        str | None,
        typer.Option(help="Memory of the entries at most, as 2GB.", show_default=False),
    ] = None,
    state_bytes: Annotated[
        float | None,
        typer.Option(min=0, help="Bytes of a state, if TRACE has none.", show_default=False),
    ] = None,
    sample: Annotated[
        str, typer.Option(help="Share of the keys that was recorded, as 1%: figures are scaled up.")
    ] = "100%",
    expiry: Annotated[
        Literal["fixed", "sliding"], typer.Option(help="Whether hits prolong an entry's life.")
    ] = "fixed",
    writes: Annotated[
        Literal["through", "invalidate", "ignore"],
        typer.Option(help="What a write does to the cache."),
    ] = "through",
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="TRACE's format; default: recognised.", show_default=False),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Its columns, as in `statecache trace`: time_ms=when,key=id.", show_default=False
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="For parquet larger than memory: a Dask scheduler, as tcp://host:8786, or `local` "
            "for processes of this machine.",
            show_default=False,
        ),
    ] = None,
    scratch: Annotated[
        Path | None,
        typer.Option(
            help="With --scheduler, a folder that all its workers see; default: the temporary one.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the advice as JSON.")] = False,
) -> None:
    """Say which TTL to run for a recorded stream; exit 1 where no TTL meets the limits."""
    with study_installed():
        from statecache.study.advisor.advice import advise
        from statecache.study.advisor.curve import Policy
        from statecache.study.advisor.limits import parse_share
        from statecache.study.errors import StudyError
        from statecache.study.scale import advise_on_folder
        from statecache.study.traces import read_recording
    try:
        limits = _limits(max_db_qps, min_hit_rate, max_staleness, max_memory)
        policy = Policy(
            expiry=expiry,
            writes=writes,
            bypass_share=parse_share(bypass_share, "bypass-share"),
            state_bytes=state_bytes,
            sample=parse_share(sample, "sample"),
        )
        with _progress() as on_progress:
            found: Recording | Lines
            if scheduler is None:
                found = read_recording(trace, format_name, parse_columns(columns))
                advice = advise(found.trace, limits, policy, on_progress)
            elif format_name not in (None, "parquet"):
                raise UsageError(f"--scheduler takes parquet, not {format_name}: convert {trace}.")
            else:
                advice, found = advise_on_folder(
                    trace,
                    limits,
                    policy,
                    columns=parse_columns(columns),
                    on_progress=on_progress,
                    scheduler=None if scheduler == "local" else scheduler,
                    scratch=scratch,
                )
    except StudyError as error:  # exit code 1 is kept for limits that cannot be met
        raise UsageError(str(error)) from error
    if as_json:
        out.print(json.dumps(_as_json(advice), indent=2, ensure_ascii=False), markup=False)
    else:
        if found.malformed:
            out.print(_left_out(found), style="yellow", markup=False)
        _print(advice)
    raise typer.Exit(0 if advice.feasible else 1)


def _limits(
    max_db_qps: float | None,
    min_hit_rate: str | None,
    max_staleness: str | None,
    max_memory: str | None,
) -> Limits:
    from statecache.study.advisor.limits import (
        Limits,
        parse_bytes,
        parse_share,
        parse_staleness,
    )

    given: dict[str, float | None] = {"max_db_qps": max_db_qps}
    if min_hit_rate is not None:
        given["min_hit_rate"] = parse_share(min_hit_rate, "min-hit-rate")
    if max_staleness is not None:
        given |= parse_staleness(max_staleness)
    if max_memory is not None:
        given["max_memory_bytes"] = parse_bytes(max_memory, "max-memory")
    return Limits(**given)


def _left_out(found: Recording | Lines) -> str:
    first = found.first_malformed
    where = "" if first is None else f"; the first is line {first.line}: {first.reason}"
    return f"{found.malformed:,} of {found.lines:,} lines are malformed and left out{where}."


def _print(advice: Advice) -> None:
    from statecache.study.advisor import wording

    style = "bold" if advice.feasible else "bold red"
    out.print(wording.headline(advice), style=style, markup=False)
    for line in wording.shortfall_sentences(advice):
        out.print(line, style="red", markup=False)
    out.print(f"\n    {advice.configuration}\n" if advice.feasible else "", markup=False)
    out.print(_curve_table(advice))
    sections = {"Limits": wording.exclusion_sentences(advice)}
    if advice.feasible:
        sections |= {
            "If it is wrong": [wording.wrong_sentence(advice), wording.halves_sentence(advice)],
            "One TTL for all keys?": [
                wording.groups_sentence(advice),
                wording.adaptive_sentence(advice),
            ],
        }
    for title, sentences in sections.items():
        if any(sentences):
            out.print(f"\n{title}", style="bold")
        for sentence in filter(None, sentences):
            out.print(sentence, markup=False)
        if title.startswith("One TTL") and advice.groups and advice.groups.worth_it:
            out.print(_groups_table(advice.groups))
    out.print(f"\n{wording.scope_sentence(advice)}", style="dim", markup=False)


def _curve_table(advice: Advice) -> Table:
    from statecache.study.advisor import wording
    from statecache.study.quantities import show_number

    stale = advice.policy.can_be_stale
    table = Table(box=None, pad_edge=False)
    table.add_column("TTL", justify="right", no_wrap=True)
    for heading in ("hit rate", "db/s", "states", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    if stale:
        table.add_column("stale hits", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in wording.curve_table(advice).to_dict("records"):
        cells = [
            wording.duration(row["ttl_s"]),
            f"{100 * row['hit_rate']:.1f} %",
            show_number(row["db_qps"]),
            show_number(row["mean_live_keys"]),
            wording.size(row["memory_bytes"]),
            *([f"{100 * row['stale_share']:.2f} %"] if stale else []),
            row["note"] if row["meets"] else f"{row['note']} excluded".strip(),
        ]
        chosen = "bold" if row["note"].startswith(("run", "nearest")) else ""
        table.add_row(*map(Text, cells), style=chosen or ("" if row["meets"] else "dim"))
    return table


def _groups_table(groups: Groups) -> Table:
    from statecache.study.advisor import wording
    from statecache.study.quantities import show_number

    show = wording.size if groups.unit == "bytes" else show_number
    table = Table(box=None, pad_edge=False)
    table.add_column("keys by " + groups.by, no_wrap=True)
    for heading in ("keys", "TTL", "hits", "(one TTL)", "memory", "(one TTL)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in groups.table.to_dict("records"):
        cells = (
            str(row["group"]),
            f"{row['keys']:,}",
            wording.duration(row["ttl_s"]),
            _share(row["hit_rate"]),
            _share(row["hit_rate_one"]),
            show(row["memory"]),
            show(row["memory_one"]),
        )
        table.add_row(*map(Text, cells))
    return table


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f} %"


def _as_json(advice: Advice) -> dict[str, Any]:
    from statecache.study.advisor.summary import summary

    return summary(advice)


@contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    """Yield where progress goes: a bar on a terminal, nothing elsewhere."""
    if not err.is_terminal:
        yield lambda _share, _what: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, what: bar.update(task, completed=share, description=what)

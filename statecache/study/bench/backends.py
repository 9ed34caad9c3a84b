"""CPU time of PostgreSQL's backends, as the operating system counts it."""

from __future__ import annotations

from pathlib import Path

import psutil

from statecache.study.bench.opening import APPLICATION
from statecache.study.servers import Servers, open_database

__all__ = ["backend_cpu_s"]


def backend_cpu_s(servers: Servers) -> float | None:
    """Return the CPU seconds so far of the backends that serve the benchmark's pools.

    ``None`` where the server runs on another machine, or as somebody whose processes are hidden.
    """
    if not servers.embedded:
        return None
    with open_database(servers) as database:
        rows = database.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s", [APPLICATION]
        ).fetchall()
    try:
        return sum(_cpu_s(int(pid)) for (pid,) in rows)
    except (OSError, psutil.Error):
        return None


def _cpu_s(pid: int) -> float:
    schedule = Path(f"/proc/{pid}/schedstat")
    if schedule.exists():  # nanoseconds, where cpu_times counts in hundredths of a second
        return int(schedule.read_text().split()[0]) / 1e9
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system

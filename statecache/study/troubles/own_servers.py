"""Embedded servers of one's own that can be killed, stopped and started again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import redis

from statecache.study import _supervisor
from statecache.study._embedded import _VALKEY_SETTINGS, embedded_servers
from statecache.study.errors import ServersError
from statecache.study.servers import Servers

__all__ = ["OwnServers", "ServerProcess", "own_servers"]

START_LIMIT_S = 30.0
END_LIMIT_S = 20.0


class OwnServers:
    """Servers that nobody else uses: ``database`` and ``cache`` are their processes."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.servers = servers
        self.database = ServerProcess.of_postgresql(servers, folder)
        self.cache = ServerProcess.of_valkey(servers, folder)

    def empty_cache(self) -> None:
        """Remove everything that the cache holds."""
        with redis.Redis.from_url(self.servers.redis_url) as client:
            client.flushall()


@contextmanager
def own_servers() -> Iterator[OwnServers]:
    """Yield embedded servers apart from all others, whatever DATABASE_URL and REDIS_URL say.

    At the end they are stopped and their data is gone. Raises ``ServersError``.
    """
    with embedded_servers() as started:
        servers = Servers(started["database_url"], started["redis_url"], embedded=True)
        own = OwnServers(servers, Path(started["folder"]))
        try:
            yield own
        finally:  # the supervisor ends its own children only
            own.database.end()
            own.cache.end()


class ServerProcess:
    """A server's process with its children; every command returns once it has taken effect."""

    def __init__(
        self,
        name: str,
        process: psutil.Process,
        command: list[str],
        folder: Path,
        *,
        answers: Callable[[], Any],
        settings: str = "",
    ) -> None:
        self._name = name
        self._process = process
        self._child: subprocess.Popen[bytes] | None = None
        self._command = command
        self._settings = settings
        self._folder = folder
        self._answers = answers
        self._user, self._group = self._process.uids().real, self._process.gids().real

    @classmethod
    def of_postgresql(cls, servers: Servers, folder: Path) -> Self:
        """Take the embedded PostgreSQL in the supervisor's ``folder``."""
        pid = int((folder / "data" / "postmaster.pid").read_text().split("\n")[0])
        process = psutil.Process(pid)

        def answers() -> None:
            psycopg.connect(servers.database_url, connect_timeout=2).close()

        return cls("PostgreSQL", process, process.cmdline(), folder, answers=answers)

    @classmethod
    def of_valkey(cls, servers: Servers, folder: Path) -> Self:
        """Take the embedded Valkey; started again, it has lost its data."""
        client = redis.Redis.from_url(servers.redis_url)
        process = psutil.Process(client.info("server")["process_id"])
        where = client.connection_pool.connection_kwargs
        client.close()
        settings = _VALKEY_SETTINGS | {
            "port": str(where["port"]),
            "requirepass": where["password"],
        }
        text = "".join(f'{name} "{value}"\n' for name, value in settings.items())

        def answers() -> None:
            with redis.Redis.from_url(servers.redis_url, socket_timeout=2) as one:
                one.ping()

        # The text goes to its stdin, so that the password is on no command line.
        return cls("Valkey", process, [process.exe(), "-"], folder, answers=answers, settings=text)

    def stop(self) -> None:
        """Freeze it: connections stay, new ones are accepted by the kernel, nothing answers."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End ``stop``."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without warning, as a crash of the machine would; connections are reset."""
        self.stop()  # first, lest it start another child while its children are looked up
        family = self._family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._wait_for_the_end(family)
        if self._name == "PostgreSQL":  # to which a zombie is alive: it would not start beside it
            (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def start(self) -> None:
        """Start it again after ``kill``, with the same address; return once it answers."""
        identity: dict[str, Any] = {}
        if self._user != psutil.Process().uids().real:
            identity = {"user": self._user, "group": self._group, "extra_groups": ()}
        with (self._folder / f"{self._name}.log").open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - what the supervisor ran
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=_supervisor.SERVER_ENVIRONMENT,
                umask=0o077,
                preexec_fn=_supervisor._die_with_parent(self._name),  # noqa: PLW1509 - it is plain C
                **identity,
            )
        assert self._child.stdin is not None  # noqa: S101 - for the type checker
        with suppress(BrokenPipeError), self._child.stdin as stdin:
            stdin.write(self._settings.encode())
        self._process = psutil.Process(self._child.pid)
        self._wait_for_an_answer()

    def end(self) -> None:
        """End what ``start`` has started; what the supervisor started is its own to end."""
        self.go_on()
        if self._child is None:
            return
        with suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGINT)
        try:
            self._child.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._child.wait(END_LIMIT_S)

    def _family(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _wait_for_the_end(self, family: list[psutil.Process]) -> None:
        if self._child is not None:
            self._child.wait(END_LIMIT_S)
        until = time.monotonic() + END_LIMIT_S
        while any(map(_is_alive, family)):
            if time.monotonic() > until:
                raise ServersError(f"The process {self._process.pid} does not end: end it by hand.")
            time.sleep(0.005)

    def _wait_for_an_answer(self) -> None:
        until = time.monotonic() + START_LIMIT_S
        while True:
            try:
                self._answers()
            except (psycopg.OperationalError, redis.ConnectionError, redis.TimeoutError) as error:
                if time.monotonic() > until or not _is_alive(self._process):
                    raise ServersError(
                        f"{self._name} does not answer after its restart ({self._last_words()})."
                    ) from error
                time.sleep(0.005)
            else:
                return

    def _last_words(self) -> str:
        lines = (self._folder / f"{self._name}.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

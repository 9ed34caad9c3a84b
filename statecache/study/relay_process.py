"""A relay's process, as whoever started it sees it: a port on loopback, commanded line by line.

In a process of its own, since in the caller's it would take turns with what is measured.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import urlsplit

from statecache.study._held import held_process
from statecache.study.errors import StudyError

__all__ = ["LOOPBACK", "RelayProcess"]

LOOPBACK = "127.0.0.1"


class RelayProcess:
    """The process first says its ``port``, then answers each command, all in lines of JSON."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self.port = int(self._answer()["port"])

    @classmethod
    @contextmanager
    def running(cls, script: str, *arguments: str) -> Iterator[Self]:
        """Run the relay of this script beside the block."""
        with held_process(script, *arguments) as process:
            relay = cls(process)
            yield relay
        if process.returncode:
            raise relay._ended()

    def address(self, url: str) -> str:
        """Return the URL of the same server behind this relay."""
        parts = urlsplit(url)
        credentials, at, _host = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{credentials}{at}{LOOPBACK}:{self.port}").geturl()

    def tell(self, **command: Any) -> dict[str, Any]:
        """Return the answer, which comes once the command holds; raises ``StudyError``."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
        except BrokenPipeError:
            raise self._ended() from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> StudyError:
        return StudyError(
            f"The relay process {self.pid} ended early with status {self._process.wait()}: "
            "see what it said on stderr, and run again."
        )

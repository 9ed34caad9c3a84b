r"""What ``redis-cli MONITOR`` prints: one command a line, with the time and the client.

Which commands read, write and delete stands in ``redis_commands``; others are ignored. ``EXPIRE``
and its kin only count where they end a life at once. Scripts are seen by the commands they run,
except those of statecache's own managers, which are understood: puts write, fills follow a read and
are not counted. A key outside database 0 is named ``db3:key``, and bytes that are no UTF-8 stay
escaped. Sizes are those of values written; a read has its key's last one.

MONITOR does not show replies. Where a client of its own fills the cache by ``SET`` after a read
that missed, these fills look like writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from statecache.study.traces.blocks import Block
from statecache.study.traces.redis_commands import is_managers, touches
from statecache.study.traces.rows import LineError, Operation, Rows, are_mostly, rows_by_line, shown

__all__ = ["Monitor", "recognises_monitor"]

_LINE: Final = re.compile(rb'(\d{1,11}\.\d{1,9}) \[(\d+) (.*?)\] (".*")', re.DOTALL)
_ARGUMENT: Final = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"(?: |$)', re.DOTALL)
_BEGINS: Final = b"OK"
_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


def recognises_monitor(lines: list[bytes]) -> bool:
    """Return whether most of the lines are MONITOR's."""
    return are_mostly([line for line in lines if line != _BEGINS], _LINE)


class Monitor:
    """Reads blocks in their order: what a script runs follows the script."""

    def __init__(self) -> None:
        self._in_managers_script = False

    def rows(self, block: Block) -> Rows:
        """Return a block's operations."""
        return rows_by_line(block, self._operations)

    def _operations(self, line: bytes) -> Iterator[Operation]:
        if line.strip() == _BEGINS:
            return
        found = _LINE.fullmatch(line)
        if found is None:
            raise LineError(f"{shown(line)} is no line of MONITOR")
        time_s, database, client, text = found.groups()
        if client == b"lua" and self._in_managers_script:
            return
        command, *arguments = _arguments(text)
        command = command.upper()
        self._in_managers_script = is_managers(command, arguments)
        try:
            touched = touches(command, arguments)
        except (IndexError, ValueError):
            raise LineError(f"{shown(text)} lacks arguments") from None
        for key, op, size in touched:
            yield float(time_s), _name(key, database), op, size


def _arguments(text: bytes) -> list[bytes]:
    found = _ARGUMENT.findall(text)
    if sum(map(len, found)) + 3 * len(found) - 1 != len(text):
        raise LineError(f"{shown(text)} is no list of quoted arguments")
    return [_ESCAPE.sub(_byte, one) if b"\\" in one else one for one in found]


def _byte(escape: re.Match[bytes]) -> bytes:
    what = escape[1]
    return bytes.fromhex(what[1:].decode()) if len(what) == 3 else _ESCAPED.get(what, what)


def _name(key: bytes, database: bytes) -> str:
    name = key.decode("utf-8", "backslashreplace")
    return name if database == b"0" else f"db{int(database)}:{name}"

"""Reads files, compressed or not, in blocks of whole lines, so that little is held at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa

from statecache.errors import first_line
from statecache.study.traces.trace import TraceError

__all__ = ["LONGEST_LINE", "Block", "Chunk", "compression_of", "peek", "read_blocks", "read_chunks"]

CHUNK: Final = 1 << 22
"""Bytes read at once: 100,000 lines or so, enough to hide what a block costs."""

LONGEST_LINE: Final = 1 << 24
"""Bytes. What is longer is not held, but counted as malformed: a state has at most 1 MiB."""

_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


class Chunk(NamedTuple):
    """Bytes of a file, and where they end: the share of the file, and what broke it off if any."""

    data: bytes
    share: float
    broken: str | None = None


class Block(NamedTuple):
    """Whole lines of a file.

    ``data`` ends with a newline. ``line`` is the number of the first line, from 1. ``share`` of the
    file has been read; ``faults`` are the lines left out, with the reason.
    """

    data: bytes
    line: int
    share: float
    faults: tuple[tuple[int, str], ...] = ()


def compression_of(path: Path) -> str | None:
    """Return how a file is compressed by its first bytes: 'gzip', 'zstd', or None.

    Raises TraceError where it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise _unreadable(path, error) from error
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def peek(path: Path, size: int = 1 << 16) -> bytes:
    """Return the first bytes of a file's contents, fewer where it has no more or is broken."""
    return next(read_chunks(path, size), Chunk(b"", 1.0)).data


def read_chunks(path: Path, size: int | None = None) -> Iterator[Chunk]:
    """Yield a file's contents, decompressed; the last chunk says what broke it off, if anything."""
    size = size or CHUNK
    compression = compression_of(path)
    try:
        with pa.OSFile(str(path)) as raw:
            total = max(raw.size(), 1)
            stream = pa.CompressedInputStream(raw, compression) if compression else raw
            while True:
                data, broken = _read(stream, size)
                if not data and broken is None:
                    return
                yield Chunk(data, min(raw.tell() / total, 1.0), broken)
                if broken is not None:
                    return
    except OSError as error:
        raise _unreadable(path, error) from error


def _read(stream: pa.NativeFile, size: int) -> tuple[bytes, str | None]:
    try:
        return stream.read(size), None
    except (OSError, pa.ArrowException) as error:
        return b"", f"the file breaks off ({first_line(error)})"


def read_blocks(path: Path) -> Iterator[Block]:
    """Yield a text file in blocks of whole lines; the last line needs no newline at its end."""
    line, rest = 1, b""
    faults: list[tuple[int, str]] = []
    skipping = False
    share = 0.0
    for chunk, share, broken in read_chunks(path):
        data = chunk
        if skipping:
            _, newline, data = chunk.partition(b"\n")
            skipping = not newline
        cut = data.rfind(b"\n") + 1
        whole, rest = (rest + data[:cut], data[cut:]) if cut else (b"", rest + data)
        if broken is not None:
            faults.append((line + whole.count(b"\n"), broken))
            rest = b""  # half a line may look like a whole one
        if whole or broken is not None:
            yield Block(whole, line, share, tuple(faults))
            line, faults = line + whole.count(b"\n"), []
        if len(rest) > LONGEST_LINE:
            faults.append((line, f"the line has more than {LONGEST_LINE:,} bytes"))
            line, rest, skipping = line + 1, b"", True
    if rest or faults:
        yield Block(rest + b"\n" if rest else b"", line, share, tuple(faults))


def _unreadable(path: Path, error: OSError) -> TraceError:
    # the system's words alone, since its message repeats the path
    reason = error.strerror or first_line(error)
    return TraceError(f"{path} cannot be read ({reason}): give the file of a recorded stream.")

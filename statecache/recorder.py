"""Records what a manager is asked for, of a sample of keys: the input of the study's advisor."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from statecache.access import Access
from statecache.errors import ConfigError, first_line
from statecache.forking import in_each_process

__all__ = ["AccessRecorder"]

log = logging.getLogger("statecache")

#: How a trace calls what a manager does; anything else is not recorded.
_OPERATIONS: Final = {"load": "read", "update": "write", "delete": "delete"}


class AccessRecorder:
    """An observer that writes the accesses of a sample of keys to parquet files in a folder.

    Keys are sampled whole: of a key, all accesses are recorded or none, so that its replay is
    exact. Every process samples the same ones, and several may record into one folder. ``sample``
    is the share of keys, above 0 and up to 1. The columns are time_s (float64, when the call began,
    seconds since the epoch), key (uint64, a hash of ``salt`` and the trigger id), op (read, write,
    delete), size (int32, bytes) and outcome; ``study.traces.read_trace`` reads the folder.

    A thread writes a file every ``flush_secs``, and when half of ``max_rows`` are held. Rows that
    would be more, or that cannot be written, are dropped and counted: no trouble reaches the
    caller. ``close`` writes the rest; a crash loses what is held. A forked child starts anew.
    Raises ``ConfigError`` for a value out of range, or where pyarrow is missing.
    """

    def __init__(
        self,
        folder: str | Path,
        sample: float = 0.01,
        *,
        max_rows: int = 50_000,
        flush_secs: float = 60.0,
        salt: bytes = b"",
    ) -> None:
        if not 0 < sample <= 1:
            raise ConfigError(f"sample is {sample!r}: take a share of keys above 0 and up to 1.")
        if max_rows < 1 or not 0 < flush_secs < threading.TIMEOUT_MAX:
            raise ConfigError(
                f"max_rows is {max_rows!r} and flush_secs {flush_secs!r}: take at least one row, "
                "and seconds above 0."
            )
        try:
            import pyarrow.parquet  # noqa: F401, PLC0415 - only who records needs it
        except ImportError:
            raise ConfigError("recording needs pyarrow: install statecache[record].") from None
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the folder {folder} cannot be made ({first_line(error)}): give another one."
            ) from error
        self._folder, self._limit, self._salt = Path(folder), round(sample * 2**32), salt
        self._max_rows, self._flush_secs, self._closed = max_rows, flush_secs, False
        # The rows that a forked child holds are its parent's to write.
        in_each_process(self._begin)

    def _begin(self) -> None:
        """Set up what each process has of its own."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._rows: list[Access] = []
        self._writing = self._parts = 0
        self._failing = False
        self._name = f"accesses-{os.getpid()}-{secrets.token_hex(4)}"
        self._epoch_s = time.time() - time.monotonic()
        #: Rows in files; rows that should be and are not.
        self.recorded = self.dropped = 0

    def wants(self, trigger_id: str) -> bool:
        """Return whether the key is sampled, for who would spare an ``Access`` in vain."""
        # Stable across processes, and four times as fast as the hash that names the key.
        return crc32(trigger_id.encode()) < self._limit

    def __call__(self, access: Access) -> None:
        """Hold the access if its key is sampled."""
        if not self.wants(access.trigger_id) or access.operation not in _OPERATIONS:
            return
        with self._lock:
            held = len(self._rows) + self._writing
            if self._closed or held >= self._max_rows:
                self.dropped += 1
                return
            self._rows.append(access)
            if self._thread is None:
                self._start()
            elif 2 * held >= self._max_rows:
                self._wake.set()

    def close(self) -> None:
        """Write what is held, and end; waits 10 seconds for a disk that hangs."""
        atexit.unregister(self.close)
        with self._lock:
            self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="statecache-recorder", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is about to end: try again later
            return
        self._thread = thread
        atexit.register(self.close)

    def _run(self) -> None:
        closed = False
        while not closed:
            self._wake.wait(self._flush_secs)
            self._wake.clear()
            with self._lock:
                closed, rows, self._rows = self._closed, self._rows, []
                self._writing = len(rows)
            written = self._write(rows)
            with self._lock:
                self.recorded += len(rows) if written else 0
                self.dropped += 0 if written else len(rows)
                self._writing = 0

    def _write(self, rows: Sequence[Access]) -> bool:
        """Write a file of its own, whole or not at all; return whether it is there."""
        if not rows:
            return True
        self._parts += 1
        path = self._folder / f"{self._name}-{self._parts:06d}.parquet"
        # Readers of the folder pass over names that begin with a dot.
        unfinished = path.with_name(f".{path.stem}.unfinished")
        try:
            _write_parquet(unfinished, rows, self._epoch_s, self._salt)
            unfinished.replace(path)
        except Exception as error:  # a full disk, say: the caller is not to feel it
            with contextlib.suppress(OSError):
                unfinished.unlink()
            if not self._failing:
                log.warning("accesses cannot be recorded in %s: %s", self._folder, error)
            self._failing = True
            return False
        self._failing = False
        return True


def _write_parquet(path: Path, rows: Sequence[Access], epoch_s: float, salt: bytes) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    ids = {row.trigger_id for row in rows}
    keys = {i: blake2b(salt + i.encode(), digest_size=8).digest() for i in ids}
    names = pa.dictionary(pa.int8(), pa.string())
    columns: dict[str, Any] = {
        "time_s": pa.array([row.started + epoch_s for row in rows], pa.float64()),
        "key": pa.array([int.from_bytes(keys[row.trigger_id]) for row in rows], pa.uint64()),
        "op": pa.array([_OPERATIONS[row.operation] for row in rows], names),
        "size": pa.array([row.size for row in rows], pa.int32()),
        "outcome": pa.array([row.outcome for row in rows], names),
    }
    with path.open("wb") as file:
        pq.write_table(pa.table(columns), file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())

"""The entries in Redis: no trouble with them ever reaches the caller."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from statecache._async.commands import FAILED, FENCE_SCRIPT, PUT_SCRIPT, AsyncCommands
from statecache.clock import ServerClock
from statecache.codec import compact
from statecache.compression import pack, unpack
from statecache.config import CacheConfig
from statecache.entry import FENCE, NONE, PACKED, STATE, TOMBSTONE, format_head, parse_entry
from statecache.forking import in_each_process
from statecache.lifetimes import Lifetimes
from statecache.lookup import NOTHING, Lookup, Moment, Put, Row
from statecache.redis_connections import AsyncRedis
from statecache.stats import Tally

__all__ = ["AsyncStateCache"]

#: Entries in one call of a script: the server does nothing else meanwhile (about 3 µs each).
BATCH = 256

#: What the script is told of an entry: head, time to live in ms, payload.
_Entry: TypeAlias = tuple[bytes, int, bytes]


class AsyncStateCache:
    """Gets and puts versioned entries, within a time limit and behind a breaker."""

    def __init__(
        self, client: AsyncRedis | None, config: CacheConfig, tally: Tally, lifetimes: Lifetimes
    ) -> None:
        self._timeout_s = config.timeout_ms / 1000
        self._commands = AsyncCommands(client, config, tally)
        self._breaker = self._commands.breaker
        #: For who listens, on a connection of their own.
        self.link = self._commands.link
        #: On which other processes are told of changes: no state's key, since ids hold no U+0000.
        self.channel = config.key_prefix + "\0changed"
        self._epoch_key = config.key_prefix + "\0epoch"
        self._epoch = b""
        self._prefix = config.key_prefix
        self._prefix_bytes = len(self._prefix.encode())
        self._config = config
        self._deadline_ms = config.effective_fill_deadline_ms
        # PostgreSQL writes 1e300 as 301 digits: its text can be much longer than what was stored.
        self._max_bytes = 64 * config.max_state_bytes
        self._tally = tally
        self._lifetimes = lifetimes
        self._clock = ServerClock()
        in_each_process(self._begin)

    def _begin(self) -> None:
        # Never the same twice: what was read before the cache lost an epoch is not of the next one.
        self._name, self._epochs_named = os.urandom(8).hex().encode(), itertools.count()

    def _new_epoch(self) -> bytes:
        return b"%b%x" % (self._name, next(self._epochs_named))

    def is_own(self, message: bytes) -> bool:
        """Whether it tells of what was put by this cache, in this process."""
        return message.startswith(self._name)

    @property
    def is_left_alone(self) -> bool:
        """Whether the breaker keeps callers away."""
        return self._breaker.is_open

    # Reads.

    async def get(self, trigger_id: str) -> Lookup:
        """Look a state up."""
        if not self._breaker.allows():
            return Lookup(reason="bypassed")
        reply = await self._commands.call("get", self._timeout_s, "GET", self._prefix + trigger_id)
        return self._read(reply)

    async def get_many(self, trigger_ids: Sequence[str]) -> dict[str, Lookup]:
        """Look states up in one round trip for every few hundred."""
        if len(trigger_ids) == 1:
            return {trigger_ids[0]: await self.get(trigger_ids[0])}
        lookups: dict[str, Lookup] = {}
        ends = time.monotonic() + self._timeout_s
        for begin in range(0, len(trigger_ids), 2 * BATCH):
            batch = trigger_ids[begin : begin + 2 * BATCH]
            left = ends - time.monotonic()
            if left <= 0 or not self._breaker.allows():
                lookups |= dict.fromkeys(batch, Lookup(reason="bypassed"))
                continue
            keys = [self._prefix + trigger_id for trigger_id in batch]
            reply = await self._commands.call("get", left, "MGET", *keys)
            known = isinstance(reply, list) and len(reply) == len(batch)
            raws = reply if known else [FAILED] * len(batch)
            lookups |= zip(batch, map(self._read, raws), strict=True)
        return lookups

    async def moment(self, spent_s: float = 0.0) -> Moment | None:
        """Return what is to be known of the instant before PostgreSQL is asked, or told.

        ``None`` where the cache is to be left alone, does not tell its time, or has had all of it.
        """
        began, left_s = time.monotonic(), self._timeout_s - spent_s
        if left_s <= 0:
            return None
        if not self._clock.is_known:
            if not self._breaker.allows():
                return None
            await self._run_put("time", left_s, [], 0, 1, b"", self._new_epoch(), "", "", 0)
            if not self._clock.is_known:
                return None
        now = time.monotonic()
        return Moment(now, self._epoch, left_s - (now - began))

    # Writes, within what their moment left of the time limit.

    async def put(self, rows: Mapping[str, Row], moment: Moment) -> dict[str, Put]:
        """Put what was committed after ``moment``, a tombstone where the row is deleted."""
        life_ms = self._config.tombstone_ms
        entries = {
            trigger_id: _bare(version, TOMBSTONE, life_ms)
            if payload is None
            else self._full(trigger_id, version, payload)
            for trigger_id, (payload, version) in rows.items()
        }
        return await self._store("put", entries, moment, (self.channel, self._name))

    async def fence(self, versions: Mapping[str, int]) -> dict[str, Put]:
        """Send readers of these states to the database unless the cache has these versions."""
        life_ms = self._config.tombstone_ms
        entries = {key: _bare(version, FENCE, life_ms) for key, version in versions.items()}
        moment = await self.moment()
        if moment is None:
            return dict.fromkeys(versions, Put.FAILED)
        # It is true at any time, in any epoch.
        return await self._store("fence", entries, moment._replace(epoch=b""), (self.channel, b""))

    async def fill(self, rows: Mapping[str, Row], moment: Moment) -> dict[str, Put]:
        """Put what PostgreSQL held after ``moment``."""
        negative_ms = round(self._config.negative_ttl_secs * 1000)
        # Of a deleted state it is a tombstone as well: what it replaces must not come back.
        deleted_ms = max(negative_ms, self._config.tombstone_ms)
        entries = {
            trigger_id: self._full(trigger_id, version, payload)
            if payload is not None
            else _bare(version, NONE, deleted_ms if version else negative_ms)
            for trigger_id, (payload, version) in rows.items()
            if payload is not None or negative_ms
        }
        return await self._store("fill", entries, moment, ("", b""))

    async def invalidate(self, trigger_ids: Iterable[str]) -> bool:
        """Fence states off whatever the cache holds; return whether it took all of it."""
        ids = iter(trigger_ids)
        while batch := list(itertools.islice(ids, BATCH)):
            if not await self._fence_off(batch, b""):
                return False
        return True

    async def invalidate_all(self) -> bool:
        """Fence everything off, also what is being read right now."""
        if not await self._fence_off([], self._new_epoch()):
            return False
        async for batch in self.scan():
            if batch is None or not await self.invalidate(batch):
                return False
        return True

    async def scan(self, *, anywhere: bool = False) -> AsyncIterator[list[str] | None]:
        """Yield the ids of all entries, in batches; some may come twice. ``None`` if it fails.

        ``anywhere`` begins somewhere, for a sample.
        """
        pattern = re.sub(r"([\[\]*?\\^])", r"\\\1", self._prefix) + "*"
        match = ("MATCH", pattern, "COUNT", 1_000)
        cursor, again = (str(secrets.randbits(32)).encode(), True) if anywhere else (b"0", False)
        while True:
            reply = await self._commands.call("scan", self._timeout_s, "SCAN", cursor, *match)
            if reply is FAILED:
                yield None
                return
            cursor, keys = reply
            names = (key[self._prefix_bytes :].decode(errors="replace") for key in keys)
            yield [name for name in names if name and "\0" not in name]
            if cursor == b"0" and not again:
                return
            again = again and cursor != b"0"

    async def aclose(self) -> None:
        """Close the connections that this cache made; the client it was given stays open."""
        await self.link.aclose()

    async def _fence_off(self, trigger_ids: list[str], epoch: bytes) -> bool:
        if not self._breaker.allows():
            return False
        keys = [self._epoch_key, *(self._prefix + trigger_id for trigger_id in trigger_ids)]
        values = (self._config.tombstone_ms, epoch, self.channel, self._prefix_bytes)
        reply = await self._commands.run(FENCE_SCRIPT, "invalidate", self._timeout_s, keys, *values)
        return reply is not FAILED

    def _read(self, raw: Any) -> Lookup:
        if raw is None or raw is FAILED:
            return Lookup(reason="absent" if raw is None else "error")
        entry = parse_entry(raw) if isinstance(raw, bytes) else None
        if entry is None:
            return Lookup(reason="corrupt")
        if entry.kind in (TOMBSTONE, FENCE):
            reason = "tombstone" if entry.kind == TOMBSTONE else "fenced"
            return Lookup(reason=reason, version=entry.version)
        payload = NOTHING if entry.kind == NONE else entry.payload
        if entry.kind == PACKED:
            try:
                payload = unpack(payload, self._max_bytes)
            except ValueError:
                payload = b""  # as unreadable as it is
        early = bool(self._config.early_refresh) and self._is_due(entry.time_ms)
        return Lookup(payload, "early" if early else "", entry.version)

    def _is_due(self, expiry_ms: int) -> bool:
        if not self._clock.is_known:
            return False
        left_ms = expiry_ms - self._clock.at(time.monotonic())
        return self._lifetimes.refresh_early(left_ms)

    def _full(self, trigger_id: str, version: int, payload: bytes) -> _Entry:
        packed, smaller = pack(compact(payload), self._config.compress_min_bytes)
        head = format_head(version, PACKED if smaller else STATE)
        return head, self._lifetimes.ttl_ms(trigger_id), packed

    async def _store(
        self, operation: str, entries: Mapping[str, _Entry], moment: Moment, told: tuple[str, bytes]
    ) -> dict[str, Put]:
        """Hand entries to the script, in batches; an outcome is ``FAILED`` where nobody knows.

        ``told`` is on which channel others are told of them, and by whom. Entries have a deadline,
        else what waits in a stopped server's socket would arrive when it is long outdated.
        """
        outcomes: dict[str, Put] = {}
        ends = time.monotonic() + moment.left_s
        as_of = self._clock.at(moment.at)
        for names in _batches(entries):
            left = ends - time.monotonic()
            codes = None
            if left > 0 and self._breaker.allows():
                values = [as_of, self._deadline_ms, moment.epoch, self._new_epoch()]
                values += *told, self._prefix_bytes
                values += itertools.chain.from_iterable(map(entries.__getitem__, names))
                codes = await self._run_put(operation, left, names, *values)
            if codes is None:
                outcomes |= dict.fromkeys(names, Put.FAILED)
                continue
            outcomes |= zip(names, map(_OUTCOMES.__getitem__, codes), strict=True)
            for code in set(codes):
                self._tally.add(f"{operation}:{_NAMES[code]}", codes.count(code))
        return outcomes

    async def _run_put(
        self, operation: str, seconds: float, names: Sequence[str], *values: Any
    ) -> list[int] | None:
        """Put entries of these names; return their outcomes, ``None`` where nobody knows them."""
        keys = [self._epoch_key, *(self._prefix + name for name in names)]
        reply = await self._commands.run(PUT_SCRIPT, operation, seconds, keys, *values)
        match reply:
            case [int(now), bytes(epoch), *outcomes] if len(outcomes) == len(names):
                self._clock.observe(now)
                self._epoch = epoch
                return outcomes
        if reply is not FAILED:
            self._tally.add(f"error:{operation}:UnexpectedReply")
        return None


def _bare(version: int, kind: bytes, life_ms: int) -> _Entry:
    return format_head(version, kind), life_ms, b""


def _batches(entries: Mapping[str, _Entry]) -> Iterator[list[str]]:
    """Cut into what one call of a script may carry: few enough, and not too much to send."""
    batch: list[str] = []
    size = 0
    for name, (_head, _ttl_ms, payload) in entries.items():
        batch.append(name)
        size += len(payload)
        if len(batch) >= BATCH or size >= 1 << 20:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


#: What the script says became of an entry.
_OUTCOMES = {put.value: put for put in Put}
_NAMES = {put.value: put.name for put in Put}

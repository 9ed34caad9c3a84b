"""A campaign: conditions measured in turns, in random blocks, kept as they end, and resumed.

A machine that is busy for a second is busy for whoever runs in that second. So every block holds
each condition once, in random order, and only cells of the same block are compared.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd

from statecache.study.errors import StudyError
from statecache.study.harness.outages import outages_named
from statecache.study.harness.stand import Condition, Stand, open_stand
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers

__all__ = ["AGAIN", "BlockLog", "Campaign", "Measurements", "again"]

#: A block is disturbed if others had more than this share of the machine during one of its cells.
DISTURBED: Final = 0.25
#: Disturbed blocks are measured again, once, at most this share of all.
REPEATED: Final = 0.25

#: Ends the name of a condition that is another one again: the noise floor.
AGAIN: Final = " (again)"


@dataclass(frozen=True, slots=True)
class Measurements:
    """What a campaign measured.

    ``cells``: a row a cell: cell, variant, profile, block, attempt, the condition's labels, and
    what ``cells.Cell`` names. ``histograms``: cell, block, operation, low_us, high_us, count.
    """

    cells: pd.DataFrame
    histograms: pd.DataFrame
    #: Blocks that were measured twice because others used the machine.
    repeated: list[int]
    #: What was done to keep client and servers apart, as a sentence.
    placement: str


def again(condition: Condition) -> Condition:
    """Return the same condition under another name: what differs is noise."""
    return replace(condition, cell=condition.cell + AGAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Measures conditions on one pair of servers.

    ``profile`` is the name of the deployment profile that the servers are seen through.
    ``on_progress`` is told the share that is done, and of what.
    """

    servers: Servers
    folder: RunFolder
    notebook: str
    seed: int
    pool_size: int
    profile: str = "loopback"
    on_progress: Callable[[float, str], None] = lambda _share, _what: None
    #: Whether client and servers are kept on cores of their own, where that can be done.
    pins: bool = True

    async def measure(self, conditions: Sequence[Condition], blocks: int) -> Measurements:
        """Measure every condition in each of the blocks that the folder does not hold yet.

        Then blocks in which others used the machine are measured again, once, at most a quarter of
        all, the most disturbed ones first; of two attempts the quieter one is kept, whatever it
        shows. A block is kept when it is complete, whatever happens then. Raises ``StudyError``,
        also where a server fails.
        """
        log = BlockLog(self.folder, self.notebook, self.fingerprint(conditions))
        if log.missing(blocks) or log.to_repeat(blocks):
            with outages_named(self.servers):
                await self._measure_left(conditions, log, blocks)
        self.on_progress(1.0, "measured")
        return log.measurements(blocks)

    async def _measure_left(
        self, conditions: Sequence[Condition], log: BlockLog, blocks: int
    ) -> None:
        async with open_stand(
            self.servers, conditions, seed=self.seed, pool_size=self.pool_size, pins=self.pins
        ) as stand:
            log.note_placement(stand.placement)
            missing = log.missing(blocks)
            for done, block in enumerate(missing):
                share = done / len(missing), 1 / len(missing)
                await self._block(stand, conditions, log, (block, 1), share)
            for block in log.to_repeat(blocks):
                await self._block(stand, conditions, log, (block, 2), (1.0, 0.0))

    async def _block(
        self,
        stand: Stand,
        conditions: Sequence[Condition],
        log: BlockLog,
        number: tuple[int, int],
        share: tuple[float, float],
    ) -> None:
        """Measure each condition once, in an order of the block's own, and keep the block."""
        block, attempt = number
        order = list(conditions)
        # An order, not a secret.
        random.Random(f"{self.seed} {block} {attempt}").shuffle(order)  # noqa: S311
        rows, histograms = [], []
        stand.audit.checkpoint()
        for place, condition in enumerate(order):
            what = f"block {block + 1}" + (" again" if attempt > 1 else "")
            self.on_progress(share[0] + share[1] * place / len(order), f"{self.notebook}, {what}")
            cell = await stand.measure(condition)
            head = {
                "cell": condition.cell,
                "variant": condition.variant.name,
                "profile": self.profile,
                "block": block,
                "attempt": attempt,
            }
            rows.append(head | dict(condition.labels) | cell.row)
            buckets = cell.histograms()
            buckets.insert(0, "block", block)
            buckets.insert(0, "cell", condition.cell)
            histograms.append(buckets)
        log.keep(block, attempt, pd.DataFrame(rows), pd.concat(histograms, ignore_index=True))

    def fingerprint(self, conditions: Sequence[Condition]) -> str:
        """Return a hash of all that a block depends on, so that no run takes another one's."""
        names = [condition.cell for condition in conditions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise StudyError(f"two conditions are called {twice[0]!r}: give each its own name.")
        chosen = repr((list(conditions), self.seed, self.pool_size, self.profile))
        return hashlib.sha256(chosen.encode()).hexdigest()[:8]


class BlockLog:
    """The blocks of a campaign in a run's folder."""

    def __init__(self, folder: RunFolder, notebook: str, fingerprint: str) -> None:
        self._folder, self._notebook, self._key = folder, notebook, fingerprint

    def keep(self, block: int, attempt: int, cells: pd.DataFrame, histograms: pd.DataFrame) -> None:
        """Keep a block: it survives an interruption."""
        name = self._name(block, attempt)
        self._folder.write_cell(self._notebook, f"{name}.latency", histograms)
        self._folder.write_cell(self._notebook, name, cells)

    def note_placement(self, placement: str) -> None:
        """Keep what was done to keep client and servers apart."""
        frame = pd.DataFrame({"placement": [placement]})
        self._folder.write_cell(self._notebook, f"{self._key}.placement", frame)

    def missing(self, blocks: int) -> list[int]:
        """Return the blocks that have not been measured."""
        return [block for block in range(blocks) if self._cells(block, 1) is None]

    def to_repeat(self, blocks: int) -> list[int]:
        """Return the disturbed blocks that are to be measured again, the worst first."""
        shares, done = {}, 0
        for block in range(blocks):
            first = self._cells(block, 1)
            if self._cells(block, 2) is not None:
                done += 1
            elif first is not None:
                shares[block] = _disturbance(first)
        worst = sorted(shares, key=lambda block: -shares[block])
        allowed = max(0, int(REPEATED * blocks) - done)
        return [block for block in worst if shares[block] > DISTURBED][:allowed]

    def measurements(self, blocks: int) -> Measurements:
        """Return all blocks, of two attempts the quieter one."""
        cells, histograms, repeated = [], [], []
        for block in range(blocks):
            found = {
                attempt: frame
                for attempt in (1, 2)
                if (frame := self._cells(block, attempt)) is not None
            }
            if len(found) > 1:
                repeated.append(block)
            quietest = min(found, key=lambda attempt: _disturbance(found[attempt]))
            cells.append(found[quietest])
            name = f"{self._name(block, quietest)}.latency"
            buckets = self._folder.read_cell(self._notebook, name)
            histograms += [] if buckets is None else [buckets]
        placement = self._folder.read_cell(self._notebook, f"{self._key}.placement")
        return Measurements(
            pd.concat(cells, ignore_index=True),
            pd.concat(histograms, ignore_index=True),
            repeated,
            "" if placement is None else str(placement["placement"].iloc[0]),
        )

    def _cells(self, block: int, attempt: int) -> pd.DataFrame | None:
        """Return a block's cells; ``None`` where they or their histograms cannot be read."""
        name = self._name(block, attempt)
        if self._folder.read_cell(self._notebook, f"{name}.latency") is None:
            return None
        return self._folder.read_cell(self._notebook, name)

    def _name(self, block: int, attempt: int) -> str:
        return f"{self._key}-{block:03d}-{attempt}"


def _disturbance(cells: pd.DataFrame) -> float:
    return float(cells["foreign_share"].max())

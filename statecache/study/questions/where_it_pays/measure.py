"""What a load and an update cost, without and with a cache, in several deployment profiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from statecache.study.errors import StudyError
from statecache.study.harness.campaign import Campaign, again
from statecache.study.harness.documents import document
from statecache.study.harness.drives import Closed
from statecache.study.harness.stand import Condition
from statecache.study.harness.variants import NONE, REDIS, Variant
from statecache.study.harness.workloads import Workload
from statecache.study.profiles import open_profile, parse_profile
from statecache.study.questions.memory import DOCUMENTED, Kind, weigh
from statecache.study.runfolder import RunFolder
from statecache.study.servers import Servers

__all__ = ["BUSY", "EVENT_READS", "LOOPBACK", "NOTEBOOK", "Measured", "Settings", "measure"]

NOTEBOOK: Final = "where_it_pays"
LOOPBACK: Final = "loopback"

#: States of which it is weighed what they take in Redis.
WEIGHED: Final = (
    DOCUMENTED,
    Kind("this study's", document),
    Kind("of 1,000 bytes", lambda number: document(number, 1_000)),
)

#: Callers of the moderate load.
BUSY: Final = 8

#: An event loads a state and updates it: half of the operations are reads.
EVENT_READS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``profiles`` by name, or as ``database=2.4,cache=0.3``; loopback must be among them."""

    profiles: Sequence[str]
    blocks: int
    cell_s: float
    keys: int
    read_share: float
    #: The TTL of the variant of which many loads miss.
    short_ttl_s: float
    #: States whose memory in Redis is weighed, of each kind.
    states: int
    pool_size: int = 8
    seed: int = 1

    def __post_init__(self) -> None:
        names = [parse_profile(text).name for text in self.profiles]
        if LOOPBACK not in names or len(set(names)) < len(names):
            raise StudyError(
                f"the profiles are {list(self.profiles)}: name loopback, on which the model's "
                "costs are measured, and each one once."
            )
        if not EVENT_READS < self.read_share < 1:
            raise StudyError(
                f"the mix has {self.read_share:g} reads: take more than {EVENT_READS:g}, which is "
                "measured anyway, and less than 1, so that there are updates."
            )


@dataclass(frozen=True, slots=True)
class Measured:
    """``cells`` and ``histograms`` as a campaign's, of all profiles.

    Labels of ``cells``: reads (share), cache (none, hits, some), callers. ``calibrations`` as
    ``profiles.calibration_table``; ``memory``: kind, json_bytes, bytes, a row a state; ``void``:
    profile → why it is void.
    """

    settings: Settings
    cells: pd.DataFrame
    histograms: pd.DataFrame
    calibrations: pd.DataFrame
    memory: pd.DataFrame
    void: dict[str, str]
    repeated: int


async def measure(
    settings: Settings,
    servers: Servers,
    folder: RunFolder,
    on_progress: Callable[[float, str], None] = lambda _share, _what: None,
) -> Measured:
    """Measure every profile that the folder does not hold yet. Raises ``StudyError``."""
    cells, histograms, calibrations, void, repeated = [], [], [], {}, 0
    count = len(settings.profiles)
    for place, text in enumerate(settings.profiles):

        def report(share: float, what: str, place: int = place) -> None:
            on_progress((place + share) / count, what)

        profile = parse_profile(text)
        with open_profile(servers, profile) as deployment:
            campaign = Campaign(
                servers=deployment.servers,
                folder=folder,
                notebook=NOTEBOOK,
                seed=settings.seed,
                pool_size=settings.pool_size,
                profile=profile.name,
                on_progress=report,
            )
            conditions = _conditions(settings, profile.name)
            found = await campaign.measure(conditions, settings.blocks)
            calibrations.append(deployment.table())
            if not deployment.is_valid:
                void[profile.name] = deployment.reason
        cells.append(found.cells)
        histograms.append(found.histograms.assign(profile=profile.name))
        repeated += len(found.repeated)
    memory = folder.read_cell(NOTEBOOK, f"memory-{settings.states}")
    if memory is None:
        memory = await weigh(servers, WEIGHED, settings.states)
        folder.write_cell(NOTEBOOK, f"memory-{settings.states}", memory)
    return Measured(
        settings,
        pd.concat(cells, ignore_index=True),
        pd.concat(histograms, ignore_index=True),
        pd.concat(calibrations, ignore_index=True),
        memory,
        void,
        repeated,
    )


def _conditions(settings: Settings, profile: str) -> list[Condition]:
    """Return the conditions of a profile; loopback has the noise floor and a load beside."""
    short = Variant(redis=True, ttl_s=settings.short_ttl_s, mark="short TTL")
    variants = {"none": NONE, "hits": REDIS, "some": short}

    def condition(cache: str, reads: float, callers: int = 1) -> Condition:
        return Condition(
            cell=f"{profile}, {cache}, {100 * reads:g} % reads, {callers} at a time",
            variant=variants[cache],
            workload=Workload(
                keys=settings.keys,
                # So that a part of the loads comes back before the short TTL is over.
                popularity="zipf" if cache == "some" else "uniform",
                read_share=reads,
            ),
            drive=Closed(callers, settings.cell_s),
            labels={"reads": reads, "cache": cache, "callers": callers},
        )

    mixed = [condition(cache, settings.read_share) for cache in variants]
    events = [condition(cache, EVENT_READS) for cache in ("none", "hits")]
    if profile != LOOPBACK:
        return mixed + events
    busy = [
        condition(cache, reads, BUSY)
        for reads in (settings.read_share, EVENT_READS)
        for cache in ("none", "hits")
    ]
    return [*mixed, *events, *busy, again(mixed[0])]

"""The servers as a deployment profile has them: further away, by a measured round trip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace

import pandas as pd

from statecache.study.profiles.addresses import (
    cache_address,
    database_address,
    database_url_behind,
)
from statecache.study.profiles.calibration import Calibration, calibrate
from statecache.study.profiles.delay_relay import DelayRelay, RelayUse, running_delay_relay
from statecache.study.profiles.profile import Profile
from statecache.study.servers import Servers

__all__ = ["Deployment", "calibration_table", "open_profile"]

COLUMNS = {
    "profile": "str",
    "leg": "str",
    "asked_ms": "float64",
    "median_ms": "float64",
    "p99_ms": "float64",
    "relay_cost_us": "float64",
    "cpu_us": "float64",
    "round_trips": "int64",
    "valid": "bool",
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """Servers under a profile; ``calibrations`` has one entry a relayed leg."""

    profile: Profile
    servers: Servers
    calibrations: tuple[Calibration, ...]
    _relays: Mapping[str, DelayRelay] = field(repr=False)

    @property
    def is_valid(self) -> bool:
        """Whether every leg adds what the profile says; else the profile is void."""
        return not self.reason

    @property
    def reason(self) -> str:
        """The sentences that say why the profile is void; empty where it is valid."""
        return " ".join(found.reason for found in self.calibrations if found.reason)

    def table(self) -> pd.DataFrame:
        """Return the calibrations, as ``calibration_table`` does."""
        return calibration_table(self.profile.name, self.calibrations)

    def use(self) -> dict[str, RelayUse]:
        """Return relayed leg → what its relay has done so far, calibration included.

        What it did meanwhile is the difference of two such answers.
        """
        return {leg: relay.use() for leg, relay in self._relays.items()}

    def relay_pids(self) -> dict[str, int]:
        """Return relayed leg → process id of its relay, for whoever gives processes cores."""
        return {leg: relay.pid for leg, relay in self._relays.items()}


@contextmanager
def open_profile(servers: Servers, profile: Profile) -> Iterator[Deployment]:
    """Yield the servers as the profile has them; the relays run as long as the block.

    Each leg that gains a round trip is led through a relay of its own, which is calibrated first
    against an echo: 1 to 6 seconds a leg where the machine is quiet, more where it tries again. A
    leg without delay keeps its URL. Connecting itself is not delayed, only what is sent. Under TLS
    the database's certificate is still checked by its host's name, but Redis's has to be valid for
    127.0.0.1. Raises ``ProfileError`` where a server is not at a single TCP address, and
    ``StudyError`` where it cannot be reached or a relay ends early. A void profile is no error:
    ask ``is_valid``.
    """
    addresses = {"database": database_address, "cache": cache_address}
    urls = {"database": servers.database_url, "cache": servers.redis_url}
    delayed = {leg: added_ms for leg, added_ms in profile.legs.items() if added_ms}
    targets = {leg: addresses[leg](urls[leg]) for leg in delayed}
    relays: dict[str, DelayRelay] = {}
    calibrations = []
    with ExitStack() as stack:
        for leg, added_ms in delayed.items():
            relays[leg] = relay = stack.enter_context(running_delay_relay())
            # One after the other: on two cores they would be in each other's way.
            calibrations.append(calibrate(relay, leg, added_ms))
            relay.lead_to(*targets[leg])
        yield Deployment(profile, _behind(servers, relays), tuple(calibrations), relays)


def calibration_table(profile: str, calibrations: Iterable[Calibration]) -> pd.DataFrame:
    """Return a row for each relayed leg.

    profile, leg (str), asked_ms, median_ms, p99_ms (added to a round trip), relay_cost_us, cpu_us
    (of the relay, a round trip), round_trips (int64), valid (bool).
    """
    rows = [
        {"profile": profile, **asdict(found), "valid": found.is_valid} for found in calibrations
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _behind(servers: Servers, relays: Mapping[str, DelayRelay]) -> Servers:
    database, cache = relays.get("database"), relays.get("cache")
    if database is not None:
        url = database_url_behind(servers.database_url, database.port)
        servers = replace(servers, database_url=url)
    if cache is not None:
        servers = replace(servers, redis_url=cache.address(servers.redis_url))
    return servers

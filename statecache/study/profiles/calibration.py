"""Whether a relay adds what it is asked to: round trips to an echo, with and without the relay."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from statecache.study._held import held_process
from statecache.study.profiles import _echo
from statecache.study.profiles.delay_relay import DelayRelay
from statecache.study.relay_process import LOOPBACK

__all__ = ["Calibration", "calibrate", "round_trips", "running_echo"]

#: A percentile of the added round trip may be off by a share of what was asked for or by so many
#: milliseconds, whichever is more.
MEDIAN_LIMIT: Final = 0.05, 0.1
P99_LIMIT: Final = 0.20, 0.5

MOST_ROUND_TRIPS: Final = 400
LEAST_ROUND_TRIPS: Final = 100
BUDGET_MS: Final = 4000.0
WARM_UP: Final = 20
#: At first the delay is set by fewer.
TUNING: Final = 100
#: Each try after the first starts from what the one before was off by; the last one counts.
TRIES: Final = 3
PAYLOAD: Final = bytes(64)
SILENCE_LIMIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a relay was found to add to a leg's round trip.

    ``median_ms`` and ``p99_ms`` are percentiles of a relayed round trip less the median of those
    without the relay, taken in turns with them. ``relay_cost_us`` is that median with no delay at
    all, which is already part of what a leg is given; ``cpu_us`` is the relay's CPU time for one
    round trip with the delay.
    """

    leg: str
    asked_ms: float
    median_ms: float
    p99_ms: float
    cpu_us: float
    relay_cost_us: float
    round_trips: int

    @property
    def is_valid(self) -> bool:
        """Whether median and p99 are within 5 % or .1 ms and 20 % or .5 ms of what was asked."""
        return not self.reason

    @property
    def reason(self) -> str:
        """A sentence that says why it is void; empty where it is valid."""
        for name, found_ms, (share, least_ms) in (
            ("median", self.median_ms, MEDIAN_LIMIT),
            ("p99", self.p99_ms, P99_LIMIT),
        ):
            limit_ms = max(share * self.asked_ms, least_ms)
            if abs(found_ms - self.asked_ms) > limit_ms:
                return (
                    f"The relay of the {self.leg} leg adds {found_ms:.2f} ms ({name}) where "
                    f"{self.asked_ms:g} ms were asked for, off by more than {limit_ms:.2f} ms: "
                    "run it where nothing else runs."
                )
        return ""


def calibrate(relay: DelayRelay, leg: str, asked_ms: float) -> Calibration:
    """Set the relay to add ``asked_ms`` of round trip, and return what it then adds to an echo's.

    What the relay costs by itself is taken off the delay. The relay leads to the echo afterwards,
    which is gone.
    """
    with running_echo() as port:
        relay.lead_to(LOOPBACK, port)
        with _connected(port) as direct, _connected(relay.port) as relayed:
            cost_ms = _measure(relay, direct, relayed, 0.0, MOST_ROUND_TRIPS).median_ms
            count = round_trips(asked_ms)
            delay_ms = asked_ms - cost_ms
            delay_ms += asked_ms - _measure(relay, direct, relayed, delay_ms, TUNING).median_ms
            for _ in range(TRIES):
                added = _measure(relay, direct, relayed, delay_ms, count)
                found = Calibration(leg, asked_ms, *added, cost_ms * 1000, count)
                if found.is_valid:
                    break
                delay_ms += asked_ms - found.median_ms
    return found


def round_trips(asked_ms: float) -> int:
    """Return how many round trips judge a relay: 400, fewer where they would take over 4 s."""
    return int(min(max(BUDGET_MS / asked_ms, LEAST_ROUND_TRIPS), MOST_ROUND_TRIPS))


@contextmanager
def running_echo() -> Iterator[int]:
    """Run a server that sends back what it gets beside the block; yield its port on loopback."""
    with held_process(_echo.__file__) as process:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        yield int(process.stdout.readline())


class _Added(NamedTuple):
    median_ms: float
    p99_ms: float
    cpu_us: float


def _measure(
    relay: DelayRelay, direct: socket.socket, relayed: socket.socket, delay_ms: float, count: int
) -> _Added:
    relay.add(max(0.0, delay_ms) / 1000)
    for _ in range(WARM_UP):
        _round_trip_ms(direct)
        _round_trip_ms(relayed)
    before = relay.use()
    pairs = np.array([(_round_trip_ms(direct), _round_trip_ms(relayed)) for _ in range(count)])
    cpu_s = relay.use().cpu_s - before.cpu_s
    added_ms = pairs[:, 1] - np.median(pairs[:, 0])
    median_ms, p99_ms = np.quantile(added_ms, (0.5, 0.99))
    return _Added(float(median_ms), float(p99_ms), cpu_s / count * 1e6)


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection((LOOPBACK, port), SILENCE_LIMIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _round_trip_ms(connection: socket.socket) -> float:
    began = time.perf_counter()
    connection.sendall(PAYLOAD)
    missing = len(PAYLOAD)
    while missing:
        received = len(connection.recv(missing))
        if not received:
            raise ConnectionResetError
        missing -= received
    return (time.perf_counter() - began) * 1000

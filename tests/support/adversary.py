"""A seeded adversary: what can befall a cache server and the network, in random order."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeAlias

from support.cache_server import CacheServer
from support.relay import Delay, Relay

__all__ = ["trouble"]

#: What is done, how long it lasts (least, most), and what undoes it.
Trouble: TypeAlias = tuple[str, Callable[[], None], Delay, Callable[[], None]]

Choose: TypeAlias = Callable[[random.Random], Trouble]

INSTANT: Delay = (0.0, 0.0)


@contextmanager
def trouble(
    seed: object,
    *,
    server: CacheServer | None = None,
    cache_relays: Sequence[Relay] = (),
    database_relays: Sequence[Relay] = (),
    workers: Sequence[int] = (),
) -> Iterator[list[str]]:
    """Trouble what is given until the block ends, then heal all of it; yield the log.

    ``workers`` are ids of processes. The seed gives the troubles and their order, the machine the
    exact moments.
    """
    sources: list[tuple[str, Choose, Delay]] = []
    if server is not None:
        sources.append(("server", lambda dice: _server_trouble(dice, server), (0.1, 0.5)))
    if cache_relays:
        sources.append(("cache", lambda dice: _network_trouble(dice, cache_relays), (0.0, 0.2)))
    if database_relays:
        sources.append(("data", lambda dice: _database_trouble(dice, database_relays), (0.0, 0.2)))
    if workers:
        sources.append(("worker", lambda dice: _worker_trouble(dice, workers), (0.1, 0.5)))
    log: list[str] = []
    ended = threading.Event()
    with ThreadPoolExecutor(len(sources)) as pool:
        running = [pool.submit(_make, seed, *source, ended, log) for source in sources]
        try:
            yield log
        finally:
            ended.set()
            wait(running)
            for relay in (*cache_relays, *database_relays):
                relay.heal()
            if server is not None:
                server.heal()
    for one in running:
        one.result()


def _make(
    seed: object, name: str, choose: Choose, pause: Delay, ended: threading.Event, log: list[str]
) -> None:
    """Make one trouble after the other until ``ended``."""
    dice = random.Random(f"{seed} {name}")
    while not ended.wait(dice.uniform(*pause)):
        what, begin, duration, finish = choose(dice)
        begin()
        log.append(f"{time.monotonic():12.4f}  {what} begins")
        ended.wait(dice.uniform(*duration))
        finish()
        log.append(f"{time.monotonic():12.4f}  {what} is over")


def _nothing() -> None:
    pass


def _server_trouble(dice: random.Random, server: CacheServer) -> Trouble:
    return dice.choice(
        (
            ("the cache is killed", server.kill, (0.0, 0.3), server.start),
            ("the cache is emptied", server.empty, INSTANT, _nothing),
            ("the cache is emptied", server.empty, INSTANT, _nothing),
            ("the cache stops", server.stop, (0.02, 0.4), server.go_on),
            ("the cache is full", server.fill_up, (0.05, 0.4), server.make_room),
            ("the cache is read-only", server.make_read_only, (0.05, 0.4), server.make_writable),
            ("the cache drops its clients", server.drop_clients, INSTANT, _nothing),
        )
    )


def _network_trouble(dice: random.Random, relays: Sequence[Relay]) -> Trouble:
    index = dice.randrange(len(relays))
    relay, name = relays[index], f"the way from w{index} to the cache"
    to_server, to_client, deliver = _delay(dice), _delay(dice), dice.random() < 0.7

    def slow() -> None:
        relay.delay(to_server=to_server, to_client=to_client)

    def cut() -> None:
        relay.cut(deliver=deliver)

    def cut_and_release() -> None:
        relay.cut(deliver=deliver)
        relay.release()

    return dice.choice(
        (
            (f"{name} is slow", slow, (0.1, 0.6), relay.delay),
            (f"{name} is slow", slow, (0.1, 0.6), relay.delay),
            (f"{name} is slow", slow, (0.1, 0.6), relay.delay),
            (f"{name} is a hole", relay.hold, (0.02, 0.4), relay.release),
            (f"{name} is a hole, then cut", relay.hold, (0.02, 0.4), cut_and_release),
            (f"{name} is cut", cut, INSTANT, _nothing),
            (f"{name} is refused", relay.refuse, (0.05, 0.2), relay.accept),
        )
    )


def _database_trouble(dice: random.Random, relays: Sequence[Relay]) -> Trouble:
    index = dice.randrange(len(relays))
    relay, name = relays[index], f"the way from w{index} to PostgreSQL"
    to_server, to_client, deliver = _delay(dice), _delay(dice), dice.random() < 0.7

    def slow() -> None:
        relay.delay(to_server=to_server, to_client=to_client)

    def cut() -> None:
        relay.cut(deliver=deliver)

    return dice.choice(
        (
            (f"{name} is slow", slow, (0.1, 0.6), relay.delay),
            (f"{name} is slow", slow, (0.1, 0.6), relay.delay),
            (f"{name} is slow", slow, (0.1, 0.6), relay.delay),
            (f"{name} is cut", cut, INSTANT, _nothing),
        )
    )


def _worker_trouble(dice: random.Random, workers: Sequence[int]) -> Trouble:
    index = dice.randrange(len(workers))

    def pause() -> None:
        os.kill(workers[index], signal.SIGSTOP)

    def go_on() -> None:
        os.kill(workers[index], signal.SIGCONT)

    # Beyond all deadlines at times: what it had in mind to send is then outdated.
    return (f"w{index} pauses", pause, (0.02, dice.choice((0.1, 0.5, 1.5))), go_on)


def _delay(dice: random.Random) -> Delay:
    """Draw a delay: within the managers' time-outs at times, beyond them at others."""
    return (0.0, dice.choice((0.0, 0.005, 0.02, 0.1)))

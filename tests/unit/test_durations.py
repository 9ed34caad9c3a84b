from __future__ import annotations

import sys
import threading

import pytest

from statecache.durations import BOUNDS_S, Durations, Spread


def test_nothing_is_an_empty_picture() -> None:
    assert Durations().snapshot() == Spread()
    assert Spread().count == 0
    assert len(Spread().buckets) == len(BOUNDS_S) + 1


def test_a_duration_counts_in_the_first_bucket_that_it_does_not_exceed() -> None:
    for bucket, bound in enumerate(BOUNDS_S):
        durations = Durations()
        durations.note(bound)
        durations.note(bound * 1.000001)
        expected = [0] * (len(BOUNDS_S) + 1)
        expected[bucket] = expected[bucket + 1] = 1
        assert durations.snapshot().buckets == tuple(expected)


def test_the_sum_is_kept() -> None:
    durations = Durations()
    for seconds in (0.0, 0.002, 0.3, 60.0):
        durations.note(seconds)
    spread = durations.snapshot()
    assert spread.sum == pytest.approx(60.302)
    assert spread.count == 4
    assert spread.buckets[0] == spread.buckets[-1] == 1


def test_a_picture_does_not_change() -> None:
    durations = Durations()
    durations.note(0.001)
    before = durations.snapshot()
    durations.note(0.001)
    assert before.count == 1
    assert durations.snapshot().count == 2


def test_bounds_rise() -> None:
    assert sorted(set(BOUNDS_S)) == list(BOUNDS_S)


def test_no_duration_is_lost_between_threads() -> None:
    durations = Durations()

    def note() -> None:
        for _ in range(5_000):
            durations.note(0.5)

    threads = [threading.Thread(target=note) for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert durations.snapshot().count == 40_000
    assert durations.snapshot().sum == 20_000

"""A folder's replay by worker processes: the same curve, also where one of them is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest
from support.dask_workers import a_cluster, worker_processes
from support.folders import write_folder

from statecache.study.errors import StudyError
from statecache.study.replay import hit_curve
from statecache.study.scale import hit_curve_of_folder
from statecache.study.traces import read_trace

TTLS = np.geomspace(0.5, 5_000, 12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace")
    n = 200_000
    rng = np.random.default_rng(5)
    keys = rng.zipf(1.3, n) % 20_000
    table = pa.table(
        {
            "time_s": rng.integers(0, 20_000, n) / 2,  # many ties, and in no order
            "key": pa.array([f"trigger-{key}" for key in keys]),
            "op": rng.choice(["read", "write", "delete"], n, p=[0.85, 0.13, 0.02]),
            "size": rng.integers(10, 2_000, n),
        }
    )
    write_folder(folder, table, [50_000, 60_000, 140_000], 10_000)
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    return hit_curve(read_trace(folder), TTLS)


def assert_same(found, expected):
    integers = [name for name in expected if expected[name].dtype == np.int64]
    pd.testing.assert_frame_equal(found[integers], expected[integers])
    pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-9)


def test_two_processes_count_what_one_counts(folder, expected, tmp_path):
    found = hit_curve_of_folder(folder, TTLS, workers=2, partitions=7, scratch=tmp_path)
    assert_same(found, expected)
    assert not list(tmp_path.iterdir())
    assert not worker_processes()


def test_the_workers_of_a_scheduler_count_the_same_and_stay(folder, expected):
    with a_cluster(workers=2) as running:
        for _ in range(2):
            found = hit_curve_of_folder(folder, TTLS, scheduler=running.scheduler_address)
            assert_same(found, expected)
        assert len(worker_processes()) == 2


@pytest.mark.parametrize("step", ["dividing by key", "replaying"])
def test_a_worker_killed_halfway_changes_nothing(folder, expected, step):
    killed = []

    def kill_one(share, what):
        if what == step and not killed:
            killed.append(worker_processes()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    found = hit_curve_of_folder(folder, TTLS, workers=2, partitions=20, on_progress=kill_one)
    assert killed
    assert_same(found, expected)


def test_a_process_that_could_not_even_start_is_refused(folder):
    with pytest.raises(StudyError, match="memory is 1048576: a process needs"):
        hit_curve_of_folder(folder, TTLS, workers=2, memory=2**20)


INTERRUPTED = """
import sys
from statecache.study.scale import hit_curve_of_folder

if __name__ == "__main__":
    try:
        hit_curve_of_folder(
            sys.argv[1], range(100), workers=2, partitions=500, scratch=sys.argv[2],
            on_progress=lambda share, what: print(what, flush=True),
        )
    except KeyboardInterrupt:
        sys.exit(130)
"""


def test_ctrl_c_leaves_neither_processes_nor_files(folder, tmp_path):
    script, scratch = tmp_path / "script.py", tmp_path / "scratch"
    script.write_text(INTERRUPTED)
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder), str(scratch)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, as at a terminal, all of which gets Ctrl-C
    )
    try:
        assert process.stdout.readline(), process.stderr.read()
        started = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert not list(scratch.iterdir())
    assert started
    deadline = time.monotonic() + 10
    while any(child.is_running() for child in started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in started if child.is_running()]

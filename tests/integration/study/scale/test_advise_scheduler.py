"""``statecache advise --scheduler``: the same advice, and what goes wrong told in one sentence."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pytest
from support.dask_workers import a_cluster
from support.folders import write_folder

from statecache import _commands
from statecache.study.scale import cluster


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def advise(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["statecache", "advise", *map(str, words)])
        capsys.readouterr()
        return Done(_commands.run(), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    n = 50_000
    rng = np.random.default_rng(9)
    table = pa.table(
        {
            "time_s": rng.uniform(0, 20_000, n),
            "key": rng.zipf(1.3, n) % 5_000,
            "op": rng.choice(["read", "write"], n, p=[0.8, 0.2]),
            "size": rng.integers(10, 500, n),
        }
    )
    folder = tmp_path_factory.mktemp("trace")
    write_folder(folder, table, [20_000], 5_000)
    return folder


def test_the_advice_is_that_of_one_machine(advise, folder, tmp_path):
    whole = json.loads(advise(folder, "--max-db-qps", 2, "--json").out)
    with a_cluster(workers=2) as running:
        address = running.scheduler_address
        done = advise(
            folder, "--max-db-qps", 2, "--json", "--scheduler", address, "--scratch", tmp_path
        )
    assert done.code == 0
    parts = json.loads(done.out)
    for name in ("ttl_s", "configuration", "feasible", "limits", "knee_s"):
        assert parts[name] == whole[name]
    assert not list(tmp_path.iterdir())


def test_limits_that_cannot_be_met_are_exit_code_1(advise, folder):
    done = advise(folder, "--min-hit-rate", "99.9%", "--scheduler", "local")
    assert done.code == 1
    assert "99.9" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scheduler", "tcp://127.0.0.1:1"], "No scheduler answers at tcp://127.0.0.1:1"),
        (["--scheduler", "elsewhere"], "The scheduler 'elsewhere' is no address"),
        (["--scheduler", "local", "--format", "twitter"], "takes parquet, not twitter"),
        (["--scheduler", "local", "--scratch", "/gone"], "No folder can be made in /gone"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(advise, folder, monkeypatch, words, message):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    done = advise(folder, *words)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_ctrl_c_ends_it_with_130(folder, tmp_path):
    words = ["advise", str(folder), "--scheduler", "local", "--scratch", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "statecache", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        # workers have been started: their folder is in the scratch folder
        while not list(tmp_path.glob("*/*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive

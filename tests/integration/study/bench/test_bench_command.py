"""``statecache study bench`` as a user types it; what it measures here says nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from statecache.study.bench.run import BENCHES
from statecache.study.checkout import find_root
from statecache.study.servers import Servers

ROOT = find_root(Path(__file__).parent)
COMMAND = [sys.executable, "-m", "statecache", "study", "bench"]


def environment(servers: Servers) -> dict[str, str]:
    return dict(os.environ) | servers.environment() | {"COLUMNS": "200"}


@pytest.fixture(scope="module")
def quick(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    done = subprocess.run(
        [*COMMAND, "--quick", "--json", str(path)],
        cwd=ROOT,
        env=environment(servers),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done, json.loads(path.read_text(), parse_constant=pytest.fail)


def test_every_benchmark_gives_rows(quick: Any) -> None:
    done, content = quick
    assert content["status"] == "complete"
    assert content["quick"] is True
    assert content["failures"] == {}
    assert {row["bench"] for row in content["rows"]} == set(BENCHES)
    names = [row["name"] for row in content["rows"]]
    assert len(set(names)) == len(names), "a row is found by its name"
    assert f"Figures: {done.args[-1]}" in done.stdout


def test_a_row_holds_what_its_reader_needs(quick: Any) -> None:
    _done, content = quick
    for row in content["rows"]:
        assert row["what"]
        assert row["against"]
        assert row["value"] >= 0
        assert row["low"] <= row["value"] <= row["high"]
        assert row["verdict"] in ("met", "missed", "not decided", "shown")
        assert (row["wanted"] is None) == (row["verdict"] == "shown")
        if row["unit"] == "x" and row["against"] != "itself":
            assert row["ours"] > 0
            assert row["theirs"] > 0
        else:
            assert row["unit"] in ("x", "ms", "M/s", "bytes", "")


def test_two_pairs_decide_nothing(quick: Any) -> None:
    _done, content = quick
    judged = [row for row in content["rows"] if row["wanted"] and row["pairs"] == 2]
    assert judged
    assert {row["verdict"] for row in judged} == {"not decided"}


def test_it_says_what_it_was_measured_on(quick: Any) -> None:
    _done, content = quick
    assert content["machine"]["cores"] >= 1
    assert {"redis", "psycopg", "cashews", "cachetools", "dogpile.cache", "aiocache"} <= set(
        content["packages"]
    )
    assert content["servers"]["postgresql"]["version"]
    assert content["started"].endswith("Z")


def test_the_factorial_has_a_line_a_variant(quick: Any) -> None:
    _done, content = quick
    for title in ("80/20, zipf keys, 8 callers", "80/20, uniform keys, 8 callers"):
        table = content["tables"][title]
        assert table[0]["variant"] == "none"
        assert all(line["ops/s"] > 0 for line in table)
        # Every operation without a cache is a statement, counted by PostgreSQL itself.
        assert table[0]["statements/op"] == 1.0


def test_nothing_is_left_behind(quick: Any, servers: Servers) -> None:
    with psycopg.connect(servers.database_url) as connection:
        rows = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'statecache\\_study\\_%'"
        ).fetchall()
    assert rows == []


def test_another_name_is_wrong_usage(servers: Servers) -> None:
    done = subprocess.run(
        [*COMMAND, "hats"],
        env=environment(servers),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "no benchmark is called 'hats': take reads, hits," in done.stderr


@pytest.mark.parametrize("after_s", [0.0, 1.0], ids=["as the second starts", "later"])
def test_interrupted_it_keeps_what_was_measured_and_cleans_up(
    after_s: float, servers: Servers, tmp_path: Path
) -> None:
    path = tmp_path / "bench.json"
    process = subprocess.Popen(
        [*COMMAND, "mix", "--json", str(path)],
        cwd=ROOT,
        env=environment(servers),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    # The second process is there (and multiprocessing's tracker): the mix is about to begin.
    while len(family := psutil.Process(process.pid).children(recursive=True)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGINT)
    _out, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Interrupted" in said
    assert "Traceback" not in said
    _gone, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    assert json.loads(path.read_text())["status"] == "interrupted"
    with psycopg.connect(servers.database_url) as connection:
        rows = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'statecache\\_study\\_%'"
        ).fetchall()
    assert rows == []

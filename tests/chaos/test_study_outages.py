"""A study on the command line that is interrupted, loses a server, finds the disk full, goes on."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from statecache.study.runfolder import RunFolder
from statecache.study.servers import open_database
from statecache.study.troubles.own_servers import OwnServers

COMMAND = [sys.executable, "-m", "statecache", "study", "run", "small"]

#: A campaign of one small cell: of three blocks where there is a file called "short", else without
#: end. A file called "full" takes the disk from it and from whoever runs it: no file may grow beyond
#: 3,000 bytes, which is enough for run.json.
NOTEBOOK = """
import os, resource
from pathlib import Path
from statecache.study.harness.aside import run_aside
from statecache.study.harness.campaign import Campaign
from statecache.study.harness.drives import Closed
from statecache.study.harness.stand import Condition
from statecache.study.harness.variants import REDIS
from statecache.study.harness.workloads import Workload
from statecache.study.runfolder import RunFolder
from statecache.study.servers import running_servers

def on_progress(share, what):
    if Path("full").exists():
        for pid in (os.getpid(), os.getppid()):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (3_000, resource.RLIM_INFINITY))

condition = Condition(
    cell="redis", variant=REDIS, workload=Workload(keys=50), drive=Closed(4, 0.05)
)
blocks = 3 if Path("short").exists() else 10_000
with running_servers() as servers:
    measurements = run_aside(
        lambda: Campaign(
            servers=servers,
            folder=RunFolder(Path(run_dir)),
            notebook="small",
            seed=1,
            pool_size=4,
            on_progress=on_progress,
        ).measure([condition], blocks)
    )
print(len(measurements.cells), "cells measured")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    parameters = nbformat.v4.new_code_cell('run_dir: str = ""')
    parameters.metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Small"),
            parameters,
            nbformat.v4.new_code_cell(NOTEBOOK),
        ]
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    notebook.metadata["language_info"] = {"name": "python"}
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "experiments").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "small.ipynb")
    (tmp_path / "experiments" / "small.yaml").write_text("notebooks: [{name: small}]")
    return tmp_path


def kept(checkout: Path) -> dict[Path, bytes]:
    blocks = checkout.glob("results/*/cells/small/*-1.latency.parquet")
    whole = [path.with_name(path.name.replace(".latency", "")) for path in blocks]
    return {path: path.read_bytes() for path in whole if path.exists()}


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the disk cannot be taken from it")
def test_a_study_goes_on_after_everything_that_ends_it(own: OwnServers, checkout: Path) -> None:
    with open_database(own.servers) as database:
        database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    urls = {"DATABASE_URL": own.servers.database_url, "REDIS_URL": own.servers.redis_url}

    def run(*words: str, once_measuring: Callable[[subprocess.Popen[str]], None]) -> str:
        before = kept(checkout)
        process = subprocess.Popen(
            [*COMMAND, *words],
            cwd=checkout,
            env=os.environ | urls,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        until = time.monotonic() + 60
        while kept(checkout).keys() == before.keys() and process.poll() is None:
            assert time.monotonic() < until, "no block within 60 s"
            time.sleep(0.02)
        once_measuring(process)
        said, _ = process.communicate(timeout=60)
        assert "Traceback" not in said
        for url in urls.values():
            assert url.split(":")[2].split("@")[0] not in said, "the password"
        now = kept(checkout)
        assert {path: now[path] for path in before} == before, "no block is measured twice"
        return f"{process.returncode} {said}"

    said = run(once_measuring=lambda process: os.killpg(process.pid, signal.SIGINT))
    assert said.startswith("130 ")
    assert "Interrupted; what was measured is kept." in said

    said = run("--resume", once_measuring=lambda _process: own.database.kill())
    own.database.start()
    assert said.startswith("1 ")
    assert "small: ServersError: DATABASE_URL at 127.0.0.1:" in said
    assert "What was measured is kept: statecache study run small --resume goes on." in said

    said = run("--resume", once_measuring=lambda _process: (checkout / "full").touch())
    (checkout / "full").unlink()
    assert said.startswith("1 ")
    assert "cannot be written (File too large): make room" in said
    assert "--resume goes on" in said

    measured = len(kept(checkout))
    (checkout / "short").touch()
    said = run("--resume", once_measuring=lambda _process: None)
    assert said.startswith("0 ")
    (folder,) = (RunFolder(path) for path in checkout.glob("results/small-*"))
    assert folder.read_run()["status"] == "complete"
    assert len(kept(checkout)) == measured
    assert "3 cells measured" in (folder.path / "small.ipynb").read_text()

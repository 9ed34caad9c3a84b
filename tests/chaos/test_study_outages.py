"""A study on the command line loses a server, finds the disk full, and goes on."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

from statecache import _commands
from statecache.study.runfolder import RunFolder
from statecache.study.servers import open_database
from statecache.study.troubles.own_servers import OwnServers

#: A campaign of one small cell, in three blocks, or very long if there is a file called "long". A
#: file called "full" takes the disk from it: no file may grow any more.
NOTEBOOK = """
import resource
from pathlib import Path
from statecache.study.harness.aside import run_aside
from statecache.study.harness.campaign import Campaign
from statecache.study.harness.drives import Closed
from statecache.study.harness.stand import Condition
from statecache.study.harness.variants import REDIS
from statecache.study.harness.workloads import Workload
from statecache import _commands
from statecache.study.runfolder import RunFolder
from statecache.study.servers import running_servers

def on_progress(share, what):
    if Path("full").exists():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

condition = Condition(
    cell="redis", variant=REDIS, workload=Workload(keys=50), drive=Closed(4, 0.05)
)
blocks = 300 if Path("long").exists() else 3
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


Kept = dict[Path, bytes]


def kept(checkout: Path) -> Kept:
    """Return the blocks that are whole; a campaign writes the latencies first."""
    blocks = checkout.glob("results/*/cells/small/*-1.parquet")
    return {path: path.read_bytes() for path in blocks}


class Run:
    """Runs the study in this process, and makes trouble once it has kept a block more."""

    def __init__(self, checkout: Path, capture: pytest.CaptureFixture[str]) -> None:
        self._checkout, self._capture = checkout, capture
        self.code = 0
        self.said = ""

    def __call__(self, *words: str, then: Callable[[], None] = lambda: None) -> None:
        before, over = kept(self._checkout), threading.Event()

        def watch() -> None:
            while kept(self._checkout).keys() == before.keys() and not over.wait(0.01):
                pass
            then()

        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as worker:
            patch.setattr(sys, "argv", ["statecache", "study", "run", "small", *words])
            watching = worker.submit(watch)
            try:
                self.code = _commands.run()
            finally:
                over.set()
            watching.result()
        out, err = self._capture.readouterr()
        self.said = out + err
        now = kept(self._checkout)
        assert {path: now[path] for path in before} == before, "nothing is measured twice"


@pytest.fixture
def run(
    own: OwnServers,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    with open_database(own.servers) as database:
        database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("DATABASE_URL", own.servers.database_url)
    monkeypatch.setenv("REDIS_URL", own.servers.redis_url)
    on_term = signal.getsignal(signal.SIGTERM)  # which a run changes for its process
    yield Run(checkout, capsys)
    signal.signal(signal.SIGTERM, on_term)


GO_ON = "What was measured is kept: statecache study run small --resume goes on."


def test_a_study_goes_on_after_all_that_ends_it(own: OwnServers, checkout: Path, run: Run) -> None:
    (checkout / "long").touch()
    run(then=own.database.kill)
    own.database.start()
    assert run.code == 1
    (folder,) = (RunFolder(path) for path in checkout.glob("results/small-*"))
    assert folder.read_run()["status"] == "failed"
    assert "statecache: small: ServersError: DATABASE_URL at 127.0.0.1:" in run.said
    assert "may be left: remove them by hand" in run.said
    assert GO_ON in run.said
    assert "Traceback" not in run.said
    password = own.servers.database_url.split(":")[2].split("@")[0]
    assert password not in run.said
    for path in checkout.rglob("*"):
        assert path.is_dir() or password.encode() not in path.read_bytes(), path

    run("--resume", then=(checkout / "full").touch)
    (checkout / "full").unlink()
    assert run.code == 1
    assert "cannot be written (File too large): make room or permit it." in run.said
    assert GO_ON in run.said
    assert "Traceback" not in run.said

    (folder.path / "small.ipynb").unlink()
    (folder.path / "small.ipynb").mkdir()
    run("--resume")
    (folder.path / "small.ipynb").rmdir()
    assert run.code == 1
    assert "small.ipynb cannot be written (Is a directory)" in run.said
    assert GO_ON in run.said

    (checkout / "long").unlink()
    run("--resume")
    assert run.code == 0, run.said
    assert folder.read_run()["status"] == "complete"
    assert "3 cells measured" in (folder.path / "small.ipynb").read_text()

"""Every notebook of the quick experiment, executed cell by cell under nbval.

nbval compares nothing here: what a notebook claims, it asserts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import papermill
import pytest

from statecache.study.checkout import find_root
from statecache.study.experiments import NotebookRun, load_experiment
from statecache.study.servers import Servers

ROOT = find_root(Path(__file__).parent)
CELL_TIMEOUT_S = 120


@pytest.fixture
def build() -> Iterator[Path]:
    """A folder inside the checkout, since a notebook looks for the checkout it lies in."""
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build", prefix="notebooks-") as folder:
        yield Path(folder)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "notebook", load_experiment("quick", ROOT).notebooks, ids=lambda notebook: notebook.part
)
def test_notebook(notebook: NotebookRun, servers: Servers, build: Path) -> None:
    prepared = build / notebook.path.name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        papermill.execute_notebook(
            str(notebook.path),
            str(prepared),
            parameters=notebook.parameters | {"run_dir": str(build / "run")},
            prepare_only=True,
            progress_bar=False,
        )
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", str(prepared), "--rootdir", str(build),
            "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", str(CELL_TIMEOUT_S),
            "--exitfirst",  # the cells behind a failing one fail for want of its names
        ],
        cwd=ROOT,
        env=os.environ | servers.environment(),
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-2_000:]
    assert (build / "run" / "verdicts.json").exists()

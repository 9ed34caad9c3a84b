"""Execute every notebook of the quick experiment under nbval, on the servers of one start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings

import papermill

from statecache.study.checkout import find_root
from statecache.study.experiments import load_experiment
from statecache.study.servers import running_servers

CELL_TIMEOUT_S = 120


def main() -> int:
    """Prepare the notebooks with their parameters and let pytest run them."""
    root = find_root()
    build = root / "build" / "notebooks"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    for run in load_experiment("quick", root).notebooks:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            papermill.execute_notebook(
                str(run.path),
                str(build / run.path.name),
                parameters=run.parameters | {"run_dir": str(build / run.name)},
                prepare_only=True,
                progress_bar=False,
            )
    # No plugin of the suite's own, and no timeout: nbval has one for each cell.
    command = [
        sys.executable, "-m", "pytest", str(build), "--nbval-lax", "--nbval-current-env",
        "--nbval-cell-timeout", str(CELL_TIMEOUT_S), "-o", "timeout=0", "-o", "filterwarnings=",
    ]  # fmt: skip
    with running_servers() as servers:
        return subprocess.run(
            command, check=False, cwd=root, env=os.environ | servers.environment()
        ).returncode


if __name__ == "__main__":
    sys.exit(main())

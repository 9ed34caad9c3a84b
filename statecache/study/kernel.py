"""Execute a notebook in a kernel whose own complaints do not reach the terminal.

papermill's engine, but for the kernel process's standard error: an interrupted kernel writes
tracebacks there that are nobody's mistake. What cells write is kept in the notebook as ever.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import papermill
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.log import logger
from traitlets.config import Config

__all__ = ["execute"]

#: No cell may take longer, in seconds; papermill's own default is for ever.
CELL_TIMEOUT_S: Final = 3_600
START_TIMEOUT_S: Final = 120

ENGINE = "statecache"


class _Engine(NBClientEngine):  # type: ignore[misc] # papermill is untyped
    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        client = PapermillNotebookClient(
            nb_man,
            kernel_name=kernel_name,
            timeout=CELL_TIMEOUT_S,
            startup_timeout=START_TIMEOUT_S,
            log=logger,
            config=options["config"],
            resources=options.get("resources", {}),
        )
        return client.execute(stderr=subprocess.DEVNULL)


papermill_engines.register(ENGINE, _Engine)


def execute(notebook: Path, executed: Path, parameters: Mapping[str, Any], cwd: Path) -> None:
    """Execute ``notebook`` with ``parameters`` into the file ``executed``, working in ``cwd``.

    Raises ``papermill.exceptions.PapermillExecutionError`` where a cell fails; the executed
    notebook is written in any case, without the paths of ``cwd`` and of the folder that the run
    folders are in. Its metadata is not to be trusted on whether it completed.
    """
    config = Config()
    # Else every kernel prints that it runs over TCP without encryption.
    config.KernelManager.transport_encryption = "auto"
    try:
        papermill.execute_notebook(
            str(notebook),
            str(executed),
            parameters=dict(parameters),
            engine_name=ENGINE,
            kernel_name="python3",
            cwd=str(cwd),
            progress_bar=False,
            log_output=False,
            config=config,
        )
    except KeyboardInterrupt:
        # What waited for the kernel ends with its death, of which asyncio would write a traceback.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        raise
    finally:
        _leave_out_paths(executed, (cwd, executed.parent.parent))


def _leave_out_paths(notebook: Path, bases: Iterable[Path]) -> None:
    """Make what lies below these folders relative to them: notebooks and pages are sent around."""
    if not notebook.exists():
        return
    text = notebook.read_text(encoding="utf-8")
    for base in bases:
        text = text.replace(json.dumps(f"{base}{os.sep}")[1:-1], "")
    notebook.write_text(text, encoding="utf-8")

"""What a notebook leaves in the run's folder for the report and for later comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from statecache.study.checkout import find_root
from statecache.study.claims import load_claims
from statecache.study.display import Picture, figure_svg, show
from statecache.study.findings import (
    NotebookFindings,
    read_findings,
    summarise,
    write_findings,
)
from statecache.study.harness.noise import noise_sentence
from statecache.study.runfolder import RunFolder
from statecache.study.verdicts import Measured, judge_all

__all__ = ["publish", "show_picture", "verdicts_of"]


def show_picture(
    folder: RunFolder, notebook: str, picture: Picture, *, overview: bool = False
) -> dict[str, Any]:
    """Show a figure in the notebook and keep it as SVG; return its entry for ``publish``.

    With ``overview`` the run's overview shows it, too; where no figure is marked it shows all.
    """
    name = f"{notebook}.{picture.name}.svg"
    folder.write_text(name, figure_svg(picture.figure))
    show(picture.figure, alt=picture.alt, caption=picture.caption, table=picture.table)
    return {"file": name, "alt": picture.alt, "caption": picture.caption, "overview": overview}


def verdicts_of(notebook: str, measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return the verdicts on the claims that this notebook judges, as ``show_verdicts`` takes."""
    claims = load_claims(find_root())
    here = {key: claim for key, claim in claims.items() if claim.is_judged_by(notebook)}
    return judge_all(here, measured)


def publish(
    folder: RunFolder,
    notebook: str,
    *,
    answer: Sequence[str],
    measured: Sequence[Measured],
    limits: Sequence[str],
    figures: Sequence[Mapping[str, Any]],
    measurements: pd.DataFrame | None = None,
    histograms: pd.DataFrame | None = None,
) -> None:
    """Write what was measured as parquet, and what was found; then sum up the run so far.

    ``notebook`` is the part's name: see ``experiments.part_name``.
    ``answer`` begins with the headline, a sentence that stands for itself. What measures it again
    is the run's own command, where the run has one. Raises ``StudyError``.
    """
    command = str(folder.read_run().get("command", ""))
    if measurements is not None:
        folder.write_frame(f"{notebook}.measurements", measurements)
    if histograms is not None:
        folder.write_frame(f"{notebook}.histograms", histograms)
    write_findings(
        folder,
        NotebookFindings(
            notebook=notebook,
            answer=answer,
            measured=[replace(one, command=command, notebook=notebook) for one in measured],
            limits=limits,
            figures=figures,
            noise="" if measurements is None else noise_sentence(measurements),
        ),
    )
    folder.write_verdicts(summarise(read_findings(folder), load_claims(find_root())))

"""What a notebook leaves in the run's folder for the report and for later comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from statecache.study.display import Picture, figure_svg, show
from statecache.study.runfolder import RunFolder

__all__ = ["publish", "show_picture"]


def show_picture(folder: RunFolder, notebook: str, picture: Picture) -> dict[str, str]:
    """Show a figure in the notebook and keep it as SVG; return its entry for ``publish``."""
    name = f"{notebook}.{picture.name}.svg"
    folder.write_text(name, figure_svg(picture.figure))
    show(picture.figure, alt=picture.alt, caption=picture.caption, table=picture.table)
    return {"file": name, "alt": picture.alt, "caption": picture.caption}


def publish(
    folder: RunFolder,
    notebook: str,
    *,
    measurements: pd.DataFrame,
    histograms: pd.DataFrame,
    answer: Sequence[str],
    verdicts: Sequence[Mapping[str, Any]],
    limits: Sequence[str],
    figures: Sequence[Mapping[str, str]],
) -> None:
    """Write measurements and histograms as parquet, and verdicts.json."""
    folder.write_frame(f"{notebook}.measurements", measurements)
    folder.write_frame(f"{notebook}.histograms", histograms)
    folder.write_verdicts(
        {
            "answer": list(answer),
            "verdicts": [dict(row) for row in verdicts],
            "limits": list(limits),
            "figures": [dict(figure) for figure in figures],
        }
    )

"""How a notebook of the study shows things: figures, tables, text and verdicts.

What is shown here carries all a page needs: every figure its description, its caption and its
data, every table its caption.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler
from IPython.display import display
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from .pages import fragment
from .quantities import show_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup
    from matplotlib.figure import Figure

__all__ = [
    "Picture",
    "apply_style",
    "figure_svg",
    "show",
    "show_table",
    "show_text",
    "show_verdicts",
]

# The colours of Okabe and Ito that keep a contrast of 3 on white; styles and markers vary with
# them, so that a line is told apart in grey, too.
BLUE, VERMILLION, GREEN, PURPLE, BLACK = "#0072B2", "#D55E00", "#009E73", "#B5548F", "#000000"
_NOTHING = "–"

# Letters are drawn as outlines: a figure looks the same where its font is not installed. Sizes
# are for a figure of 6 inches that a telephone shows at 60 %.
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.facecolor": "none",
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.labelcolor": "#222222",
    "axes.labelsize": 11,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": (
        cycler(color=[BLUE, VERMILLION, GREEN, PURPLE, BLACK])
        + cycler(linestyle=["-", "--", "-.", (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5, 1, 1.5))])
        + cycler(marker=["o", "s", "^", "D", "v"])
    ),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "errorbar.capsize": 2.5,
    "figure.constrained_layout.use": True,
    "figure.dpi": 96,
    "figure.facecolor": "none",
    "figure.figsize": (6.0, 3.7),
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 11,
    "grid.color": "#000000",
    "grid.alpha": 0.13,
    "grid.linewidth": 0.7,
    "image.cmap": "cividis",
    "legend.fontsize": 10,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "savefig.transparent": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "statecache",
    "text.color": "#222222",
    "xtick.color": "#444444",
    "xtick.labelsize": 10,
    "ytick.color": "#444444",
    "ytick.labelsize": 10,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure with what belongs to it; ``name`` is that of its file."""

    name: str
    figure: Figure
    alt: str
    caption: str
    table: pd.DataFrame


def apply_style() -> None:
    """Give matplotlib the house style, for this process."""
    mpl.rcParams.update(_STYLE)


def figure_svg(fig: Figure) -> str:
    """Return a figure as SVG: transparent, letters as outlines, the same bytes every time."""
    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "statecache"}):
        fig.savefig(
            stream,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    svg = stream.getvalue()
    return _compact(svg[svg.index("<svg") :])  # without the document type, which names an address


def _compact(svg: str) -> str:
    """Return the same picture in a quarter less: pages are sent around, and hold several."""
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r">\s+<", "><", svg).replace("DejaVuSans-", "d").replace("xlink:href", "href")
    # A hundredth of a point is finer than any screen; smaller numbers may be scales.
    return re.sub(r"\d{2,}\.\d{3,}", lambda number: f"{float(number[0]):.2f}", svg)


def show(fig: Figure, *, alt: str, caption: str, table: pd.DataFrame | None = None) -> None:
    """Show a figure with its description, its caption and, folded, its data; and close it.

    ``alt`` says what a reader who does not see the figure would miss; ``caption`` what to see in
    it, and under which profile it was measured.
    """
    if not alt.strip():
        raise ValueError("A figure needs an alt text: what it shows, for who cannot see it.")
    if not caption.strip():
        raise ValueError("A figure needs a caption: what to see in it, and how it was measured.")
    svg = figure_svg(fig)
    plt.close(fig)
    _display(
        {"image/svg+xml": svg, "text/plain": alt},
        {"image/svg+xml": {"alt": alt, "caption": caption}},
    )
    # Notebook editors do not know captions; a page puts it into the figure and drops this one.
    _display_html(fragment("caption", caption), caption, {"role": "caption"})
    if table is not None:
        label = f"Data of the figure: {caption}"
        _display_html(fragment("folded_table", _laid_out(table, {}), label), label)


def show_table(
    frame: pd.DataFrame, *, caption: str, formats: Mapping[str, str] | None = None
) -> None:
    """Show a data frame as a table; its units belong into the column names.

    ``formats`` gives columns a format, as ``.1f``, ``{:.1f} ms`` or ``digits`` (three that count,
    and all before the point); the others get as many decimals as their smallest value needs for two
    digits.
    """
    if not caption.strip():
        raise ValueError("A table needs a caption: what is in it, and how it was measured.")
    formats = dict(formats or {})
    if unknown := [name for name in formats if name not in set(_flat(frame).columns)]:
        raise ValueError(f"The table has no column {unknown[0]!r} to format.")
    _display_html(fragment("captioned_table", _laid_out(frame, formats), caption), caption)


def show_text(markdown: str) -> None:
    """Show text written in Markdown."""
    _display({"text/markdown": markdown, "text/plain": markdown})


def show_verdicts(verdicts: list[dict[str, Any]]) -> None:
    """Show verdicts as a run's overview shows them; the keys are those of ``verdicts.json``."""
    keys = ("id", "claim", "measured", "interval", "band", "bound", "profile", "verdict", "why")
    more = ("changes_if", "command")
    rows = [
        {key: str(row.get(key) or "") for key in (*keys, *more)} | {"href": ""} for row in verdicts
    ]
    words = "\n".join(f"{row['verdict']}: {row['claim']} ({row['measured']})" for row in rows)
    _display_html(fragment("verdicts", rows), words)


def _display_html(html: Markup, text: str, marks: Mapping[str, str] | None = None) -> None:
    _display({"text/html": str(html), "text/plain": text}, {"text/html": dict(marks or {})})


def _display(data: dict[str, str], metadata: dict[str, Any] | None = None) -> None:
    display(data, metadata=metadata or {}, raw=True)  # type: ignore[no-untyped-call]


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with a meaningful index as columns, and one level of column names."""
    if not isinstance(frame.index, pd.RangeIndex) or frame.index.name is not None:
        frame = frame.reset_index()
    names = [
        ", ".join(str(part) for part in name if str(part)) if isinstance(name, tuple) else str(name)
        for name in list[Any](frame.columns)
    ]
    return frame.set_axis(names, axis="columns")


def _laid_out(frame: pd.DataFrame, formats: Mapping[str, str]) -> dict[str, Any]:
    """Return what the template needs of a table: its columns, and its cells as text."""
    flat = _flat(frame)
    columns, cells = [], []
    for place, name in enumerate(flat.columns):
        values = flat.iloc[:, place]
        numeric = is_numeric_dtype(values.dtype) and not is_bool_dtype(values.dtype)
        columns.append({"name": name, "numeric": numeric})
        spec = formats.get(name) or (_number_format(values) if numeric else "")
        cells.append([_cell(value, spec) for value in values])
    return {
        "columns": columns,
        "rows": list(zip(*cells, strict=True)),
        "headers": flat.shape[1] - frame.shape[1],
    }


def _number_format(values: pd.Series[Any]) -> str:
    """Choose a column's format: whole numbers as they are, others with enough decimals."""
    sizes = np.abs(values.dropna().to_numpy(dtype=float))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    separator = "," if sizes.size and sizes.max() >= 10_000 else ""
    if not sizes.size or bool(np.all(sizes == np.floor(sizes))):
        return f"{separator}.0f"
    decimals = 1 - math.floor(math.log10(sizes.min()))
    return ".3g" if decimals > 6 else f"{separator}.{max(decimals, 0)}f"


def _formatted(value: Any, spec: str) -> str:
    if spec == "digits":
        return show_number(value)
    return spec.format(value) if "{" in spec else format(value, spec)


def _cell(value: Any, spec: str) -> str:
    missing: Any = pd.isna(value)
    if missing is True or missing is np.True_:
        return _NOTHING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    text = _formatted(value, spec)
    return text.replace("-", "−", 1) if text.startswith("-") else text

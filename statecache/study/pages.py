"""What all pages of the study share: templates, the look of a verdict, and the way to disk."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from .errors import ReportError
from .pagecheck import check_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "TEMPLATES",
    "badge",
    "fragment",
    "instant",
    "lasted",
    "moment",
    "plain_text",
    "render",
    "status_tone",
    "svg_address",
    "tally",
    "write_page",
]

TEMPLATES = Path(__file__).with_name("templates")

# A verdict is a word; the mark before it and the colour only help to find it again.
_LOOKS = {
    "holds": ("✓", "good"),
    "holds in part": ("◐", "part"),
    "does not hold": ("×", "bad"),
    "cannot hold": ("⊘", "bad"),
    "not decided": ("?", "open"),
    "assumed": ("≔", "open"),
}
_PLURALS = {
    "holds": "hold",
    "holds in part": "hold in part",
    "does not hold": "do not hold",
}
_TONES = {"complete": "good", "running": "part", "interrupted": "part", "failed": "bad"}


def svg_address(svg: str) -> Markup:
    """Return an SVG as a data address, in a quarter less than base64 takes.

    It needs no escaping in an attribute between double quotes.
    """
    if "'" not in svg:
        svg = svg.replace('"', "'")
    quoted = re.sub(
        r"""[^ !'()*+,\-./0-9:;=?@A-Z_a-z~]""", lambda found: quote(found[0], safe=""), svg
    )
    return Markup(f"data:image/svg+xml,{quoted}")  # noqa: S704 - what would end it is quoted


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["moment"] = moment
    environment.filters["verdict_look"] = lambda word: _LOOKS.get(word, ("", "open"))
    return environment


def render(template: str, **values: Any) -> str:
    """Render a template of the study with every value escaped."""
    return _environment().get_template(template).render(**values)


def fragment(macro: str, *values: Any) -> Markup:
    """Render one macro of ``parts.html.j2``: the same markup for a notebook and a page."""
    parts: Template = _environment().get_template("parts.html.j2")
    html: str = getattr(parts.module, macro)(*values)
    return Markup(html.strip())  # noqa: S704 - the macro escaped its values


def badge(verdict: str) -> Markup:
    """Return a verdict as a small badge: a mark, a colour and, always, the word."""
    return fragment("badge", verdict)


def status_tone(status: str) -> str:
    """Return the tone of a run's status."""
    return _TONES.get(status, "open")


def tally(verdicts: Iterable[Mapping[str, Any]]) -> str:
    """Count verdicts in words, in the order of the scale: ``3 hold, 1 does not hold``."""
    counts = Counter(str(row.get("verdict") or "not decided") for row in verdicts)
    known = [(word, counts.pop(word)) for word in _LOOKS if word in counts]
    return ", ".join(
        f"{count} {word if count == 1 else _PLURALS.get(word, word)}"
        for word, count in [*known, *sorted(counts.items())]
    )


def instant(text: str) -> datetime | None:
    """Read an ISO 8601 time; None where it is not one."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def moment(text: str) -> str:
    """Write an ISO 8601 time for people, in UTC; anything else is returned as it is."""
    time = instant(text)
    return text if time is None else f"{time:%Y-%m-%d %H:%M} UTC"


def lasted(started: str, finished: str) -> str:
    """Return how long a run took, or an empty string where that is not known."""
    begin, end = instant(started), instant(finished)
    if begin is None or end is None or end < begin:
        return ""
    minutes, seconds = divmod(round((end - begin).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def plain_text(html: str) -> str:
    """Return the text of a piece of HTML, without its tags."""
    return Markup(re.sub(r"\s+", " ", html)).striptags()  # noqa: S704 - the result is text


def write_page(path: Path, html: str) -> Path:
    """Write a page, whole or not at all, if it keeps the rules."""
    if problems := check_page(html):
        count = f"{len(problems)} rules of pages, first" if len(problems) > 1 else "a rule of pages"
        raise ReportError(f"{path.name} breaks {count}: {problems[0]}")
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(html.encode("utf-8", "replace"))
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise ReportError(f"{path.name} cannot be written: {error.strerror}.") from error
    return path

"""What each notebook of a run found, and what all of them say together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from statecache.study.claims import Claim
from statecache.study.errors import StudyError
from statecache.study.intervals import Interval
from statecache.study.runfolder import RunFolder
from statecache.study.verdicts import Measured, Word, judge_all

__all__ = ["NotebookFindings", "read_findings", "summarise", "tally_sentence", "write_findings"]

_SUFFIX: Final = ".findings.json"

#: In this order a run's headlines answer the question that people come with.
_HEADLINES: Final = ("ttl_sweep", "where_it_pays", "what_helps", "mixed_workload", "concurrency")

#: In this order an overview shows the figures of notebooks; those of others come last.
_FIGURES: Final = ("verdicts", "where_it_pays", "ttl_sweep", "concurrency", "degradation")

#: Sentences that an overview opens with.
_MOST_SENTENCES: Final = 3

_WORDS: Final[tuple[Word, ...]] = (
    "holds",
    "holds in part",
    "does not hold",
    "cannot hold",
    "assumed",
    "not decided",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookFindings:
    """What one notebook leaves for the overview.

    ``answer`` begins with its headline. ``figures`` are dicts of file, alt, caption, and whether
    the overview shows them (``overview``).
    """

    notebook: str
    answer: Sequence[str]
    measured: Sequence[Measured]
    limits: Sequence[str]
    figures: Sequence[Mapping[str, Any]] = field(default_factory=list)
    #: What a condition showed against itself, as a sentence; empty where nobody looked.
    noise: str = ""


def write_findings(folder: RunFolder, findings: NotebookFindings) -> None:
    """Write ``<notebook>.findings.json``."""
    content = {"format": 1} | asdict(findings)
    for one in content["measured"]:
        one["interval"] = Interval(*one["interval"]).plain()
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    folder.write_text(f"{findings.notebook}{_SUFFIX}", text + "\n")


def read_findings(folder: RunFolder) -> list[NotebookFindings]:
    """Return what the notebooks of a run have found so far, in the order of the experiment.

    Raises ``StudyError`` where a file is not ours.
    """
    found = {}
    for path in sorted(folder.path.glob(f"*{_SUFFIX}")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            measured = [_measured(one) for one in content.pop("measured")]
            del content["format"]
            one = NotebookFindings(**content, measured=measured)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StudyError(f"{path} does not hold the findings of a notebook.") from error
        found[one.notebook] = one
    known = folder.read_run() if (folder.path / "run.json").exists() else {}
    order = [str(about["name"]) for about in known.get("notebooks", [])]
    named = [name for name in order if name in found]
    return [found[name] for name in [*named, *(found.keys() - set(named))]]


def summarise(
    found: Sequence[NotebookFindings], claims: Mapping[str, Claim], *, whole: bool = False
) -> dict[str, Any]:
    """Return the content of ``verdicts.json``: answer, verdicts, limits, figures, noise.

    Limits stand there for the run and by notebook.
    A run of one notebook answers with its sentences; one of several with the count of verdicts
    and the headlines. Judged are the claims that any of the notebooks is there to judge, and all
    of them for the ``whole``, or where the notebook ``verdicts`` is among them.
    """
    names = [one.notebook for one in found]
    whole = whole or "verdicts" in names
    here = {key: one for key, one in claims.items() if whole or any(map(one.is_judged_by, names))}
    rows = judge_all(here, [one for findings in found for one in findings.measured])
    if len(found) == 1:
        answer = list(found[0].answer)
    else:
        by_name = {one.notebook: one for one in found}
        headlines = [
            by_name[name].answer[0]
            for name in _HEADLINES
            if name in by_name and by_name[name].answer
        ]
        answer = [tally_sentence(rows), *headlines][:_MOST_SENTENCES]
    places = {name: place for place, name in enumerate(_FIGURES)}
    # A notebook that ran on loopback, too, is shown as it is there.
    apart = [one for one in found if one.notebook.partition(".")[0] in {*names} - {one.notebook}]
    in_order = sorted(
        (one for one in found if one not in apart),
        key=lambda one: places.get(one.notebook, len(places)),
    )
    figures = [figure for one in in_order for figure in one.figures]
    shown = [figure for figure in figures if figure.get("overview")] or figures
    return {
        "answer": answer,
        "verdicts": rows,
        "limits": list(dict.fromkeys(limit for one in found for limit in one.limits)),
        "limits_by_notebook": [
            {"notebook": one.notebook, "limits": list(one.limits)} for one in found if one.limits
        ],
        "figures": [dict(figure) for figure in shown],
        "noise": [{"notebook": one.notebook, "text": one.noise} for one in found if one.noise],
    }


def tally_sentence(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return how many of the documented figures hold, as a sentence."""
    counts = Counter(str(row["verdict"]) for row in rows)
    parts = [f"{counts[word]} {_plural(word, counts[word])}" for word in _WORDS if counts[word]]
    total = counts.total()
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"Of {total} verdicts on the documented figures {listed}."


def _plural(word: Word, count: int) -> str:
    singular = {"not decided": "is not decided", "assumed": "is assumed by its profile"}
    plural = {
        "holds": "hold",
        "holds in part": "hold in part",
        "does not hold": "do not hold",
        "not decided": "are not decided",
        "assumed": "are assumed by their profile",
    }
    return singular.get(word, word) if count == 1 else plural.get(word, word)


def _measured(entry: Mapping[str, Any]) -> Measured:
    return Measured(**{**entry, "interval": Interval.from_plain(entry["interval"])})

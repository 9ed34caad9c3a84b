"""The verdicts of a run, and everything about them that is said in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from statecache.study.claims import Claim, Unjudged, load_claims, load_unjudged
from statecache.study.contradictions import contradictions
from statecache.study.findings import read_findings, summarise, tally_sentence
from statecache.study.runfolder import RunFolder
from statecache.study.verdicts import LEVEL

__all__ = [
    "NOTEBOOK",
    "Judged",
    "answer",
    "contradiction_table",
    "judged",
    "limits",
    "noise_table",
    "unjudged_table",
    "verdict_table",
]

NOTEBOOK: Final = "verdicts"


@dataclass(frozen=True, slots=True)
class Judged:
    """Every claim with its verdict, in the form of ``verdicts.json``, and what was found beside."""

    rows: Sequence[Mapping[str, Any]]
    claims: Mapping[str, Claim]
    unjudged: Sequence[Unjudged]
    #: Notebooks of this run that have found something, in order.
    notebooks: Sequence[str]
    #: Noise floor by notebook.
    noise: Mapping[str, str]


def judged(folder: RunFolder, root: Path) -> Judged:
    """Judge every claim by what the notebooks of the run have found so far."""
    found = [one for one in read_findings(folder) if one.notebook != NOTEBOOK]
    claims = load_claims(root)
    return Judged(
        rows=summarise(found, claims, whole=True)["verdicts"],
        claims=claims,
        unjudged=load_unjudged(root),
        notebooks=[one.notebook for one in found],
        noise={one.notebook: one.noise for one in found if one.noise},
    )


def answer(all_of: Judged) -> list[str]:
    """Return the sentences that the verdicts come down to."""
    said = [tally_sentence(all_of.rows)]
    groups = {
        "Kept": ("holds", "holds in part"),
        "Not kept": ("does not hold",),
        "Out of reach of any measurement": ("cannot hold",),
    }
    for name, words in groups.items():
        rows = [row for row in all_of.rows if row["verdict"] in words]
        if rows:
            listed = "; ".join(f"“{row['claim']}” ({_shown(row)})" for row in rows)
            said.append(f"{name}: {listed}.")
    return said


def verdict_table(all_of: Judged) -> pd.DataFrame:
    """Return the verdicts for readers, one row a claim and profile."""
    return pd.DataFrame(
        {
            "claim": [row["claim"] for row in all_of.rows],
            "documented": [row["band"] for row in all_of.rows],
            "measured": [row["measured"] or "–" for row in all_of.rows],
            f"{LEVEL:.0%} interval".replace("%", " %"): [
                row["interval"] or "–" for row in all_of.rows
            ],
            "bound": [(row["bound"] or "–").partition(":")[0] for row in all_of.rows],
            "profile": [row["profile"] for row in all_of.rows],
            "verdict": [row["verdict"] for row in all_of.rows],
        }
    )


def contradiction_table(all_of: Judged) -> pd.DataFrame:
    """Return where the documents contradict themselves: the claim and the arithmetic."""
    rows = [
        (all_of.claims[claim].text, sentence)
        for claim, sentences in contradictions(all_of.claims).items()
        for sentence in sentences
    ]
    return pd.DataFrame(rows, columns=["claim", "what the documents' own figures say"])


def unjudged_table(all_of: Judged) -> pd.DataFrame:
    """Return the documented figures that no measurement here can judge, and why."""
    return pd.DataFrame(
        [(one.text, one.where, one.why) for one in all_of.unjudged],
        columns=["figure", "where it stands", "why it is not judged"],
    )


def noise_table(all_of: Judged) -> pd.DataFrame:
    """Return the noise floor of each notebook that measured one."""
    return pd.DataFrame(
        list(all_of.noise.items()), columns=["notebook", "a condition against itself"]
    )


def limits(all_of: Judged) -> list[str]:
    """Return the sentences on what these verdicts do not say."""
    missing = sorted(
        {name for claim in all_of.claims.values() for name in claim.notebooks}
        - set(all_of.notebooks)
    )
    said = [
        (
            f"Intervals are at {100 * LEVEL:.0f} %: of {len(all_of.rows)} verdicts about "
            f"{(1 - LEVEL) * len(all_of.rows):.1f} would be wrong by chance alone."
        ),
        "A verdict belongs to its profile, machine and stream; another one needs its own run.",
    ]
    if missing:
        said.append(
            f"This run has no findings of {', '.join(missing)}: their claims are not decided."
        )
    return said


def _shown(row: Mapping[str, Any]) -> str:
    shown = str(row["measured"] or "not measured")
    profile = "" if row["profile"] == "loopback" else f", profile {row['profile']}"
    return f"{shown}{profile}"

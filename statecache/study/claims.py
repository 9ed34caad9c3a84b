"""The documented claims as data: what is promised, what is measured for it, and its bound."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

import yaml

from statecache.study.bounds import BOUNDS
from statecache.study.errors import StudyError
from statecache.study.quantities import UNITS, Kind, show_range

__all__ = ["PROFILES", "Band", "Claim", "Promise", "Unjudged", "load_claims", "load_unjudged"]

Promise = Literal["at least", "at most", "within"]

PROFILES: Final = ("loopback", "documented", "same-zone", "cross-zone")
NOTEBOOKS: Final = (
    "latency",
    "mixed_workload",
    "concurrency",
    "ttl_sweep",
    "degradation",
    "where_it_pays",
    "what_helps",
)


@dataclass(frozen=True, slots=True)
class Band:
    """The documented figure as a range, with an infinite end where it is open, and its sense.

    "at least" is kept by any value from ``low`` up, "at most" by any up to ``high``: more than
    was promised keeps the promise. "within" is kept between both only.
    """

    low: float
    high: float
    promise: Promise

    @property
    def kept_from(self) -> float:
        """The lowest value that keeps the promise."""
        return -math.inf if self.promise == "at most" else self.low

    @property
    def kept_to(self) -> float:
        """The highest value that keeps the promise."""
        return math.inf if self.promise == "at least" else self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A documented claim; ``experiments/claims.yaml`` says what each field means."""

    id: str
    text: str
    where: str
    statistic: str
    kind: Kind
    unit: str
    band: Band
    notebooks: tuple[str, ...]
    profiles: tuple[str, ...]
    changes_if: str
    fixed_by: tuple[str, ...] = ()
    bound: str | None = None
    #: Rules of ``contradictions.RULES`` with the ids (and the share of reads) they compare with.
    contradicts: tuple[Mapping[str, Any], ...] = ()

    @property
    def band_text(self) -> str:
        """The band for readers, as ``8–100x``."""
        return show_range(self.band.low, self.band.high, self.kind, self.unit, quoted=True)

    def is_judged_by(self, part: str) -> bool:
        """Return whether it is judged in that notebook, whatever the profile of the part."""
        return part.partition(".")[0] in self.notebooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """A documented figure that no measurement of this study can judge, and why."""

    text: str
    where: str
    why: str


def load_claims(root: Path) -> dict[str, Claim]:
    """Return id → claim of ``experiments/claims.yaml``, in its order.

    Raises ``StudyError`` with one sentence for whatever is unknown, missing or makes no sense.
    """
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(_read(root)["claims"], 1):
        claim = _claim(entry, number)
        if claim.id in claims:
            raise StudyError(f"claims.yaml has two claims {claim.id!r}: rename one.")
        claims[claim.id] = claim
    for claim in claims.values():
        for entry in claim.contradicts:
            for other in entry["with"]:
                if other not in claims:
                    raise _wrong(claim.id, f"contradicts {other!r}", _choose(other, claims))
    return claims


def load_unjudged(root: Path) -> list[Unjudged]:
    """Return the documented figures that are not judged, from the same file."""
    entries = _read(root)["unjudged"]
    for number, entry in enumerate(entries, 1):
        _check_fields(entry, Unjudged, f"unjudged figure {number}")
    return [Unjudged(**entry) for entry in entries]


def _read(root: Path) -> dict[str, list[Any]]:
    path = root / "experiments" / "claims.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise StudyError(f"claims.yaml cannot be read as YAML ({reason}).") from error
    lists = ("claims", "unjudged")
    if not isinstance(content, dict) or sorted(content) != sorted(lists):
        raise StudyError("claims.yaml has another form: give the lists 'claims' and 'unjudged'.")
    for name in lists:
        if not isinstance(content[name], list):
            raise StudyError(f"claims.yaml has no list under {name!r}: write '- …' entries.")
    return content


def _claim(entry: Any, number: int) -> Claim:
    named = entry.get("id", f"number {number}") if isinstance(entry, dict) else f"number {number}"
    where = f"claim {named}"
    promised: Any = entry.get("promise") if isinstance(entry, dict) else None
    if isinstance(entry, dict):
        entry = {name: value for name, value in entry.items() if name != "promise"}
    _check_fields(entry, Claim, where)
    if promised not in get_args(Promise):
        raise _wrong(named, f"promise {promised!r}", _choose(promised, get_args(Promise)))
    if entry["kind"] not in UNITS:
        raise _wrong(named, f"kind {entry['kind']!r}", _choose(entry["kind"], UNITS))
    if entry["unit"] not in UNITS[entry["kind"]]:
        units = UNITS[entry["kind"]]
        raise _wrong(named, f"unit {entry['unit']!r}", _choose(entry["unit"], units))
    if entry.get("bound") is not None and entry["bound"] not in BOUNDS:
        raise _wrong(named, f"bound {entry['bound']!r}", _choose(entry["bound"], BOUNDS))
    chosen = {
        "notebooks": _names(entry, "notebooks", NOTEBOOKS, named),
        "profiles": _names(entry, "profiles", PROFILES, named),
        "fixed_by": _names(
            entry | {"fixed_by": entry.get("fixed_by") or []}, "fixed_by", entry["profiles"], named
        ),
        "contradicts": _contradictions(entry.get("contradicts") or [], named),
    }
    if not chosen["notebooks"] or not chosen["profiles"]:
        raise _wrong(named, "no notebook or no profile", "name where it is judged.")
    return Claim(**entry | chosen | {"band": _band(entry["band"], promised, named)})


def _band(ends: Any, promise: Promise, named: str) -> Band:
    numbers = (
        isinstance(ends, list)
        and len(ends) == 2
        and all(end is None or (type(end) in (int, float) and math.isfinite(end)) for end in ends)
    )
    if not numbers:
        raise _wrong(named, f"band {ends!r}", "give [low, high], null where it is open.")
    low = -math.inf if ends[0] is None else float(ends[0])
    high = math.inf if ends[1] is None else float(ends[1])
    if low > high:
        raise _wrong(named, f"band {ends!r}", "the low end comes first.")
    needed = {"at least": (low,), "at most": (high,), "within": (low, high)}[promise]
    if not all(map(math.isfinite, needed)):
        raise _wrong(named, f"band {ends!r}", f"{promise!r} needs the end that it promises.")
    return Band(low, high, promise)


def _contradictions(entries: Any, named: str) -> tuple[dict[str, Any], ...]:
    known = {"rule", "with", "read_share"}
    for entry in entries if isinstance(entries, list) else [entries]:
        if (
            not isinstance(entry, dict)
            or not {"rule", "with"} <= set(entry) <= known
            or not isinstance(entry["with"], list)
        ):
            raise _wrong(named, f"contradicts {entry!r}", "give {rule: …, with: [id, …]}.")
    return tuple(entries)


def _names(
    entry: Mapping[str, Any], name: str, known: Iterable[str], named: str
) -> tuple[str, ...]:
    given = entry[name]
    if not isinstance(given, list):
        raise _wrong(named, f"{name} {given!r}", "give a list.")
    for value in given:
        if value not in known:
            raise _wrong(named, f"{name} {value!r}", _choose(value, known))
    return tuple(given)


def _check_fields(entry: Any, form: type, where: str) -> None:
    known = {one.name: one for one in fields(form)}
    if not isinstance(entry, dict):
        raise StudyError(f"claims.yaml: {where} is {entry!r}: give name: value pairs.")
    for name in entry:
        if name not in known:
            raise StudyError(f"claims.yaml: {where} has an entry {name!r}: {_choose(name, known)}")
    for name, one in known.items():
        if one.default is MISSING and name not in entry:
            raise StudyError(f"claims.yaml: {where} has no {name}: write one.")
        if one.type == "str" and not (isinstance(entry[name], str) and entry[name].strip()):
            raise StudyError(f"claims.yaml: {where} has the {name} {entry[name]!r}: give a text.")


def _wrong(named: Any, what: str, advice: str) -> StudyError:
    return StudyError(f"claims.yaml: claim {named} has {what}: {advice}")


def _choose(wrong: Any, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(wrong), list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}."

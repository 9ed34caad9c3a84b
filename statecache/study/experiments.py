"""Experiments: which notebooks to run with which parameters, checked before anything starts."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import papermill
import yaml

from statecache.study.errors import StudyError

__all__ = [
    "Experiment",
    "ExperimentError",
    "NotebookRun",
    "list_experiments",
    "load_experiment",
    "parse_override",
    "part_name",
]

#: Set by the runner, not by the one who asks.
RESERVED = "run_dir"


class ExperimentError(StudyError):
    """The experiment or a parameter is wrong; nothing has been started."""


@dataclass(frozen=True, slots=True)
class NotebookRun:
    """A notebook of an experiment with the parameters that differ from its own defaults."""

    name: str
    path: Path
    title: str
    summary: str
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def part(self) -> str:
        """What its pages and files are called; see ``part_name``."""
        return part_name(self.name, str(self.parameters.get("profile", "")))


@dataclass(frozen=True, slots=True)
class Experiment:
    """What one YAML file in ``experiments/`` asks for."""

    name: str
    title: str
    notebooks: list[NotebookRun]


def part_name(notebook: str, profile: str) -> str:
    """Return what a notebook's results are called: those of deployment profiles never mix.

    It is the notebook's own name on loopback, else ``<notebook>.<profile>``.
    """
    word = re.sub(r"[^\w.-]+", "-", profile.strip())
    return notebook if word in ("", "loopback") else f"{notebook}.{word}"


def list_experiments(folder: Path) -> dict[str, str]:
    """Return name → title of the experiments in the folder, in order of their names."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        content = _read(path)
        if "notebooks" in content:
            found[path.stem] = str(content.get("title", ""))
    return found


def load_experiment(
    name: str, root: Path, overrides: Mapping[str, Any] | None = None
) -> Experiment:
    """Read ``experiments/<name>.yaml`` below ``root`` and check every parameter.

    ``overrides`` are values by parameter, or by ``notebook.parameter``, where the notebook
    may be given with its profile, as in ``mixed_workload.documented.callers``. Raises
    ``ExperimentError`` for an unknown experiment, notebook or parameter and for a value of
    another type than the notebook's annotation says.
    """
    path = root / "experiments" / f"{name}.yaml"
    if not re.fullmatch(r"[\w-]+", name) or not path.is_file():
        known = list_experiments(root / "experiments")
        raise ExperimentError(f"no experiment is called {name!r}: {_choose(name, known)}")
    content = _read(path)
    _refuse_unknown(content, ("title", "notebooks"), f"{path.name}")
    entries = content.get("notebooks")
    if not isinstance(entries, list) or not entries:
        raise ExperimentError(f"{path.name} names no notebooks: give a list under 'notebooks'.")
    runs = [_notebook_run(entry, root, path.name) for entry in entries]
    for number, run in enumerate(runs):
        if run.part in [other.part for other in runs[:number]]:
            raise ExperimentError(
                f"{path.name} asks for {run.part!r} twice: only its profile tells runs of a "
                "notebook apart."
            )
    for key, value in (overrides or {}).items():
        _override(runs, key, value)
    # What overrides have made alike runs once.
    unlike = list({run.part: run for run in reversed(runs)}.values())[::-1]
    return Experiment(name, str(content.get("title", name)), unlike)


def parse_override(text: str) -> tuple[str, Any]:
    """Return the name and the value of ``name=value``; the value is read as YAML."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ExperimentError(f"{text!r} is not of the form name=value.")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ExperimentError(f"the value of {text!r} is not YAML: quote it.") from None


def _notebook_run(entry: Any, root: Path, source: str) -> NotebookRun:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ExperimentError(f"a notebook of {source} has no name: write '- name: …'.")
    _refuse_unknown(entry, ("name", "title", "summary", "parameters"), f"a notebook of {source}")
    name = entry["name"]
    path = root / "notebooks" / f"{name}.ipynb"
    if not path.is_file():
        known = [found.stem for found in (root / "notebooks").glob("*.ipynb")]
        raise ExperimentError(f"{source} asks for the notebook {name!r}: {_choose(name, known)}")
    parameters = entry.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ExperimentError(f"the parameters of {name!r} in {source} are not name: value pairs.")
    declared = _declared(path)
    checked = {key: _checked(key, value, declared, name) for key, value in parameters.items()}
    return NotebookRun(
        name, path, str(entry.get("title", name)), str(entry.get("summary", "")), checked
    )


def _override(runs: Sequence[NotebookRun], key: str, value: Any) -> None:
    """Set a parameter in every notebook that declares it, or in the one that is named."""
    notebook, dot, parameter = key.rpartition(".")
    chosen = [run for run in runs if not dot or notebook in (run.name, run.part)]
    if not chosen:
        known = [run.part for run in runs]
        raise ExperimentError(
            f"{key!r} names no notebook of this experiment: {_choose(notebook, known)}"
        )
    declaring = [run for run in chosen if parameter in _declared(run.path)]
    if not declaring:
        known = [name for run in chosen for name in _declared(run.path)]
        raise ExperimentError(
            f"no notebook has a parameter {parameter!r}: {_choose(parameter, known)}"
        )
    for run in declaring:
        run.parameters[parameter] = _checked(parameter, value, _declared(run.path), run.name)


def _declared(path: Path) -> dict[str, str]:
    """Return parameter → annotated type of a notebook."""
    try:
        inspected = papermill.inspect_notebook(str(path))
    except ValueError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ExperimentError(f"the notebook {path.name} cannot be read ({reason}).") from error
    return {
        name: str(about["inferred_type_name"]).strip()
        for name, about in inspected.items()
        if name != RESERVED
    }


def _checked(name: str, value: Any, declared: Mapping[str, str], notebook: str) -> Any:
    if name not in declared:
        raise ExperimentError(
            f"the notebook {notebook!r} has no parameter {name!r}: {_choose(name, declared)}"
        )
    kind = declared[name]
    inner = re.fullmatch(r"list\[(\w+)\]", kind)
    if inner:
        if not isinstance(value, list):
            raise _wrong_type(name, value, kind)
        return [_scalar(name, item, inner[1], kind) for item in value]
    return _scalar(name, value, kind, kind)


def _scalar(name: str, value: Any, kind: str, shown: str) -> Any:
    if kind == "float" and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if {"int": int, "bool": bool, "str": str}.get(kind) is type(value):
        return value
    raise _wrong_type(name, value, shown)


def _wrong_type(name: str, value: Any, kind: str) -> ExperimentError:
    example = {
        "float": "such as 1.5",
        "int": "such as 3",
        "bool": "true or false",
        "str": "a text",
        "list[float]": "such as [0.5, 1.0]",
        "list[int]": "such as [1, 2]",
        "list[str]": "such as [a, b]",
    }.get(kind, "")
    return ExperimentError(f"the parameter {name} is {value!r}: give a {kind}, {example}.")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ExperimentError(f"{path.name} cannot be read as YAML ({reason}).") from error
    if not isinstance(content, dict):
        raise ExperimentError(f"{path.name} is not a mapping: see experiments/ttl.yaml.")
    return content


def _refuse_unknown(content: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise ExperimentError(f"{where} has an entry {key!r}: {_choose(str(key), known)}")


def _choose(wrong: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(wrong, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"choose from {', '.join(names)}." if names else "there is none."

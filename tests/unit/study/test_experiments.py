from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from statecache.study.experiments import (
    ExperimentError,
    NotebookRun,
    list_experiments,
    load_experiment,
    parse_override,
    part_name,
)

REPOSITORY = Path(__file__).parents[3]

SWEEP = """\
days: float = 2.0  # length of a pass
count: int = 3
quick: bool = False
label: str = "as recorded"
ttls_min: list[float] = [1.0, 2.0]
looks: list[str] = ["schedule"]
run_dir: str = ""
"""

LOAD = """\
days: float = 1.0
clients: int = 8
profile: str = "loopback"
"""

PLAIN = "title: Plain\nnotebooks:\n  - name: sweep\n"
BOTH = PLAIN + "  - name: load\n"


def notebook(root: Path, name: str, parameters: str) -> None:
    cell = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(made, root / "notebooks" / f"{name}.ipynb")


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with two notebooks."""
    root = tmp_path_factory.mktemp("root")
    (root / "notebooks").mkdir()
    (root / "experiments").mkdir()
    notebook(root, "sweep", SWEEP)
    notebook(root, "load", LOAD)
    return root


@pytest.fixture
def root(notebooks: Path) -> Path:
    """The same root without experiments: each test writes its own."""
    for path in (notebooks / "experiments").iterdir():
        path.unlink()
    return notebooks


def write(root: Path, text: str, name: str = "first") -> None:
    (root / "experiments" / f"{name}.yaml").write_text(text)


def parameters_of(root: Path, text: str, overrides: dict[str, Any] | None = None) -> list[Any]:
    write(root, text)
    return [run.parameters for run in load_experiment("first", root, overrides).notebooks]


def refusal(
    root: Path, text: str, overrides: dict[str, Any] | None = None, name: str = "first"
) -> str:
    """Return the message with which the experiment is refused: always one sentence on a line."""
    write(root, text)
    with pytest.raises(ExperimentError) as refused:
        load_experiment(name, root, overrides)
    message = str(refused.value)
    assert message.splitlines() == [message]
    assert message.endswith((".", "?"))
    return message


# What is read


def test_an_experiment_says_what_to_run(root: Path) -> None:
    write(
        root,
        """\
title: First try
notebooks:
  - name: sweep
    title: The sweep
    summary: One pass.
    parameters: {days: 0.5, count: 4, quick: true, label: x, ttls_min: [1.5, 3], looks: [a, b]}
  - name: load
""",
    )
    experiment = load_experiment("first", root)
    assert (experiment.name, experiment.title) == ("first", "First try")
    assert experiment.notebooks == [
        NotebookRun(
            "sweep",
            root / "notebooks" / "sweep.ipynb",
            "The sweep",
            "One pass.",
            {
                "days": 0.5,
                "count": 4,
                "quick": True,
                "label": "x",
                "ttls_min": [1.5, 3.0],
                "looks": ["a", "b"],
            },
        ),
        NotebookRun("load", root / "notebooks" / "load.ipynb", "load", "", {}),
    ]


def test_without_a_title_the_name_is_the_title(root: Path) -> None:
    write(root, "notebooks: [{name: load}]")
    assert load_experiment("first", root).title == "first"


def test_the_repository_s_own_experiments_all_load() -> None:
    names = list_experiments(REPOSITORY / "experiments")
    on_disk = {path.stem for path in (REPOSITORY / "experiments").glob("*.yaml")}
    assert set(names) == on_disk - {"claims"}
    assert {"quick", "ttl"} <= set(names)
    for name, title in names.items():
        experiment = load_experiment(name, REPOSITORY)
        assert experiment.notebooks
        assert title
        assert experiment.title == title


def test_experiments_are_listed_by_name_without_the_claims(root: Path) -> None:
    for name in ("zeta", "alpha", "mid"):
        write(root, f"title: The {name}\nnotebooks: [{{name: load}}]", name)
    write(root, "claims: []", "claims")
    assert list(list_experiments(root / "experiments").items()) == [
        ("alpha", "The alpha"),
        ("mid", "The mid"),
        ("zeta", "The zeta"),
    ]
    assert list_experiments(root / "nowhere") == {}


# What does not exist


@pytest.mark.parametrize(
    ("name", "helps"),
    [
        ("firts", "did you mean 'first'?"),
        ("zzz", "choose from first, other."),
        ("../experiments/first", "choose from first, other."),
        ("", "choose from first, other."),
    ],
)
def test_an_unknown_experiment(root: Path, name: str, helps: str) -> None:
    write(root, PLAIN, "other")
    message = refusal(root, PLAIN, name=name)
    assert message.endswith(helps)
    assert repr(name) in message


def test_the_claims_are_not_an_experiment(root: Path) -> None:
    write(root, "claims: []", "claims")
    assert "claims.yaml" in refusal(root, PLAIN, name="claims")
    assert refusal(root, PLAIN, name="zzz").endswith("choose from first.")


@pytest.mark.parametrize(
    ("text", "wrong", "helps"),
    [
        ("notebooks: [{name: sweeep}]", "'sweeep'", "did you mean 'sweep'?"),
        ("notebooks: [{name: zzz}]", "'zzz'", "choose from load, sweep."),
        ("titel: x\nnotebooks: [{name: load}]", "'titel'", "did you mean 'title'?"),
        ("xyz: x\nnotebooks: [{name: load}]", "'xyz'", "choose from notebooks, title."),
        ("notebooks: [{name: load, sumary: x}]", "'sumary'", "did you mean 'summary'?"),
        ("notebooks: [{name: load, parameters: {dayz: 1}}]", "'dayz'", "did you mean 'days'?"),
        (
            "notebooks: [{name: load, parameters: {xyz: 1}}]",
            "'xyz'",
            "choose from clients, days, profile.",
        ),
    ],
)
def test_an_unknown_name_is_told_with_what_there_is(
    root: Path, text: str, wrong: str, helps: str
) -> None:
    message = refusal(root, text)
    assert wrong in message
    assert message.endswith(helps)


@pytest.mark.parametrize(
    "text",
    [
        "title: no notebooks",
        "notebooks: []",
        "notebooks: sweep",
        "notebooks: [sweep]",
        "notebooks: [{title: no name}]",
        "notebooks: [{name: 3}]",
        "notebooks: [{name: load, parameters: [days, 1]}]",
        "- a list",
        "",
    ],
)
def test_a_file_of_another_form(root: Path, text: str) -> None:
    assert "first.yaml" in refusal(root, text)


@pytest.mark.parametrize(
    "text", ["notebooks: [", "a: b: c", "\ttitle: x", "title: !!python/object:os.system x"]
)
def test_broken_yaml_is_told_on_one_line_with_its_place(root: Path, text: str) -> None:
    message = refusal(root, text)
    assert message.startswith("first.yaml")
    assert "line 1" in message


# Values


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("days: 3", 3.0),
        ("days: -0.5", -0.5),
        ("days: 1.0e+3", 1000.0),
        ("count: -3", -3),
        ("quick: yes", True),
        ("label: '3'", "3"),
        ("label: ''", ""),
        ("ttls_min: [1, 2.5]", [1.0, 2.5]),
        ("ttls_min: []", []),
        ("looks: []", []),
    ],
)
def test_a_value_of_the_declared_type_is_taken(root: Path, written: str, value: Any) -> None:
    name = written.partition(":")[0]
    (parameters,) = parameters_of(root, f"{PLAIN}    parameters: {{{written}}}\n")
    assert parameters == {name: value}
    taken = parameters[name]
    assert type(taken) is type(value)
    if isinstance(taken, list):
        assert [type(item) for item in taken] == [type(item) for item in value]


@pytest.mark.parametrize(
    ("written", "shown", "kind"),
    [
        ("days: '1e3'", "'1e3'", "float"),
        ("days: 1e3", "'1e3'", "float"),  # YAML takes it for a text
        ("days: true", "True", "float"),
        ("days: .nan", "nan", "float"),
        ("days: .inf", "inf", "float"),
        ("days:", "None", "float"),
        ("days: [1.0]", "[1.0]", "float"),
        ("count: true", "True", "int"),
        ("count: 3.0", "3.0", "int"),
        ("count: '3'", "'3'", "int"),
        ("quick: 'false'", "'false'", "bool"),
        ("quick: 0", "0", "bool"),
        ("label: 3", "3", "str"),
        ("label: true", "True", "str"),
        ("label: 2013-02-04", "datetime.date(2013, 2, 4)", "str"),
        ("ttls_min: 3.0", "3.0", "list[float]"),
        ("ttls_min: [1.0, true]", "True", "list[float]"),
        ("ttls_min: [1.0, '2']", "'2'", "list[float]"),
        ("ttls_min: [1.0, .nan]", "nan", "list[float]"),
        ("looks: schedule", "'schedule'", "list[str]"),
        ("looks: [schedule, 1]", "1", "list[str]"),
        ('label: ["a\\nb"]', r"['a\nb']", "str"),
    ],
)
def test_a_value_of_another_type_is_refused(
    root: Path, written: str, shown: str, kind: str
) -> None:
    name = written.partition(":")[0]
    message = refusal(root, f"{PLAIN}    parameters:\n      {written}\n")
    for part in (f" {name} ", f" {shown}", f" {kind}"):
        assert part in message
    assert parameters_of(root, PLAIN) == [{}], "and without it the experiment loads"


# Overrides


def test_an_override_reaches_every_notebook_that_declares_it(root: Path) -> None:
    assert parameters_of(root, BOTH, {"days": 5}) == [{"days": 5.0}, {"days": 5.0}]
    assert parameters_of(root, BOTH, {"clients": 2}) == [{}, {"clients": 2}]


def test_an_override_of_one_notebook(root: Path) -> None:
    assert parameters_of(root, BOTH, {"load.days": 5}) == [{}, {"days": 5.0}]
    assert parameters_of(root, BOTH, {"days": 5, "load.days": 6}) == [{"days": 5.0}, {"days": 6.0}]


def test_an_override_wins_over_the_file(root: Path) -> None:
    text = PLAIN + "    parameters: {days: 1.0, count: 2}\n"
    assert parameters_of(root, text, {"days": 5}) == [{"days": 5.0, "count": 2}]


@pytest.mark.parametrize(
    ("overrides", "wrong", "helps"),
    [
        ({"dayz": 1}, "'dayz'", "did you mean 'days'?"),
        ({"load.dayz": 1}, "'dayz'", "did you mean 'days'?"),
        ({"load.count": 1}, "'count'", "choose from clients, days, profile."),
        ({"laod.days": 1}, "'laod.days'", "did you mean 'load'?"),
        ({"zzz.days": 1}, "'zzz.days'", "choose from load, sweep."),
        ({"days": "x"}, "'x'", "a float, such as 1.5."),
    ],
)
def test_a_wrong_override(root: Path, overrides: dict[str, Any], wrong: str, helps: str) -> None:
    message = refusal(root, BOTH, overrides)
    assert wrong in message
    assert message.endswith(helps)


def test_the_run_folder_is_not_a_parameter_to_set(root: Path) -> None:
    assert "'run_dir'" in refusal(root, PLAIN, {"run_dir": "/tmp/x"})
    assert "'run_dir'" in refusal(root, PLAIN, {"sweep.run_dir": "/tmp/x"})
    message = refusal(root, PLAIN + "    parameters: {run_dir: /tmp/x}\n")
    assert message.count("run_dir") == 1, "and it is not offered"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("days=3", ("days", 3)),
        ("days=0.5", ("days", 0.5)),
        ("quick=true", ("quick", True)),
        ("label='true'", ("label", "true")),
        ("ttls_min=[5.5, 10]", ("ttls_min", [5.5, 10])),
        (" days = 3 ", ("days", 3)),
        ("label=a=b", ("label", "a=b")),
        ("sweep.days=3", ("sweep.days", 3)),
        ("label=", ("label", None)),
    ],
)
def test_an_override_in_the_command_line_is_read_as_yaml(
    text: str, expected: tuple[str, Any]
) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["days", "", "=3", " =3", "ttls_min=[1", "label='x", "label=*x"])
def test_an_override_that_is_none(text: str) -> None:
    with pytest.raises(ExperimentError) as refused:
        parse_override(text)
    message = str(refused.value)
    assert repr(text) in message
    assert message.splitlines() == [message]


def test_what_a_part_is_called() -> None:
    assert part_name("load", "") == part_name("load", "loopback") == "load"
    assert part_name("load", "documented") == "load.documented"
    assert part_name("load", "database=2.4,cache=0.3") == "load.database-2.4-cache-0.3"


DISTANT = BOTH + "  - name: load\n    parameters: {profile: documented}\n"


def test_a_notebook_runs_once_in_each_profile(root: Path) -> None:
    write(root, DISTANT)
    assert [run.part for run in load_experiment("first", root).notebooks] == [
        "sweep", "load", "load.documented",
    ]  # fmt: skip
    chosen = load_experiment("first", root, {"load.documented.clients": 3, "sweep.days": 3.0})
    assert [run.parameters.get("clients") for run in chosen.notebooks] == [None, None, 3]


def test_a_notebook_twice_in_one_profile_is_refused(root: Path) -> None:
    write(root, DISTANT + "  - name: load\n    parameters: {profile: documented, clients: 2}\n")
    with pytest.raises(ExperimentError, match=r"'load\.documented' twice"):
        load_experiment("first", root)


def test_what_an_override_makes_alike_runs_once(root: Path) -> None:
    write(root, DISTANT)
    chosen = load_experiment("first", root, {"profile": "documented"})
    assert [run.part for run in chosen.notebooks] == ["sweep", "load.documented"]

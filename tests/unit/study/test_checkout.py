from __future__ import annotations

from pathlib import Path

import pytest

from statecache.study.checkout import find_root
from statecache.study.errors import StudyError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("experiments", "notebooks"):
        (tmp_path / "checkout" / name).mkdir(parents=True)
    (tmp_path / "checkout" / "tests" / "unit").mkdir(parents=True)
    return (tmp_path / "checkout").resolve()


@pytest.mark.parametrize("below", ["", "notebooks", "tests/unit"])
def test_the_root_is_found_from_any_folder_of_the_checkout(
    root: Path, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_root(root / below) == root
    monkeypatch.chdir(root / below)
    assert find_root() == root


def test_a_checkout_in_a_checkout_is_the_nearer_one(root: Path) -> None:
    inner = root / "tests" / "unit"
    for name in ("experiments", "notebooks"):
        (inner / name).mkdir()
    assert find_root(inner / "notebooks") == inner
    assert find_root(root / "tests") == root


def test_a_link_into_the_checkout_leads_to_its_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root / "notebooks")
    assert find_root(tmp_path / "link") == root


@pytest.mark.parametrize("missing", ["experiments", "notebooks"])
def test_both_folders_make_a_checkout(root: Path, missing: str) -> None:
    (root / missing).rmdir()
    (root / missing).write_text("a file is not enough")
    with pytest.raises(StudyError, match="not inside a checkout"):
        find_root(root / "tests")


def test_outside_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError) as refused:
        find_root()
    message = str(refused.value)
    assert str(tmp_path.resolve()) in message
    assert message.splitlines() == [message]
    assert message.endswith(".")

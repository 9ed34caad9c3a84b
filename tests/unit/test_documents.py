"""What the documents and the files beside the code say is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from statecache import CacheConfig

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", path.read_text(), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_linked_file_exists(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_architecture_names_every_module_of_the_managers() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    modules = {path.stem for path in (ROOT / "statecache/_async").glob("*.py")} - {"__init__"}
    assert sorted(rows) == sorted(modules)


def test_every_module_of_the_core_can_be_read_in_one_sitting() -> None:
    modules = [*ROOT.glob("statecache/*.py"), *ROOT.glob("statecache/_async/*.py")]
    lengths = {path.name: len(path.read_text().splitlines()) for path in modules}
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def test_the_guide_to_caching_names_settings_that_exist() -> None:
    text = (ROOT / "docs" / "CACHING.md").read_text()
    settings = {field.name for field in dataclasses.fields(CacheConfig)}
    named = set(
        re.findall(r"`(\w+_(?:ms|secs|items|bytes|reads|rate|jitter|refresh))(?:=\d+)?`", text)
    )
    assert named <= settings
    optional = {"gather", "memory_items", "repair_poll_secs", "max_db_reads", "target_hit_rate"}
    assert {name for name in optional if f"`{name}`" not in text} == set()


def test_pinned_versions_name_no_address() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line), line
        assert "://" not in line


def test_containers_are_bound_to_loopback_and_know_no_password() -> None:
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(services) == {"postgres", "redis"}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert "test" in service["healthcheck"]
        secrets = {k: v for k, v in service["environment"].items() if "PASSWORD" in k}
        assert secrets
        assert all(re.fullmatch(r"\$\{\w+:\?.+\}", value) for value in secrets.values())

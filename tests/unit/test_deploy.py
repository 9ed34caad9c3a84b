"""What lies under deploy/ is well-formed and speaks of metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from statecache import CacheStats
from statecache.metrics import StateCacheCollector

DEPLOY = Path(__file__).parents[2] / "deploy"

#: What is no metric in an expression.
WORDS = {"sum", "max", "by", "rate", "and", "avg_over_time", "histogram_quantile", "offset"}
#: Labels that Prometheus adds when it scrapes.
TARGET = {"job", "instance"}


class Manager:
    def get_cache_stats(self) -> CacheStats:
        errors = {"get:TimeoutError": 1, "put:ReadOnlyError": 2}
        return CacheStats(enabled=True, ttl_secs=300.0, errors=3, errors_by_reason=errors)


def exported() -> dict[str, dict[str, set[str]]]:
    """Return sample name → label → values, as a scrape gives them."""
    registry = CollectorRegistry()
    registry.register(StateCacheCollector(Manager()))
    found: dict[str, dict[str, set[str]]] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]


EXPRESSIONS = dict(expressions())
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def test_the_rules_and_the_dashboard_have_expressions() -> None:
    assert len(EXPRESSIONS) > 20, "else nothing is checked below, or two have the same name"


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_metric_and_label_of_an_expression_exists(name: str) -> None:
    found, text = exported(), EXPRESSIONS[name]
    assert text.count("(") == text.count(")")
    assert text.count("{") == text.count("}")
    used = set()
    for metric, matchers in re.findall(r"(state_\w+)\{([^}]*)\}", text):
        for label, operator, value in re.findall(r'(\w+)(=~|=|!=|!~)"([^"]*)"', matchers):
            assert label in TARGET | found[metric].keys(), f"{metric} has no label {label}"
            if operator == "=":
                assert value in found[metric][label], f"{metric} has no {label} {value}"
    for labels in re.findall(r"by \(([^)]*)\)", text):
        used |= {label.strip() for label in labels.split(",")}
    known_labels = TARGET.union(*(found[m] for m in re.findall(r"state_\w+", text) if m in found))
    assert used <= known_labels
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|by \([^)]*\)|offset \w+", " ", text)
    names = set(re.findall(r"[a-zA-Z_][\w:]*", bare)) - WORDS
    assert names
    assert names <= found.keys() | RECORDED


def test_counters_are_seen_as_rates_and_gauges_are_not() -> None:
    for name, text in EXPRESSIONS.items():
        for metric in re.findall(r"state_(?:cache|db)_\w+?(?:_total|_bucket)\b", text):
            assert f"rate({metric}" in text, name


def test_every_alert_says_what_is_wrong_and_what_to_look_at() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert re.fullmatch(r"\d+m", rule["for"])
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}
        templates = " ".join(rule["annotations"].values())
        # The expressions aggregate by job, so that no other label is left to be named.
        assert set(re.findall(r"\$labels\.(\w+)", templates)) <= {"job"}
        assert "by (job" in rule["expr"] or "state_cache:" in rule["expr"]


def test_every_way_to_fail_has_an_alert() -> None:
    text = " ".join(rule["expr"] for rule in rules() if "alert" in rule)
    for sign in (
        "state_cache:hit_ratio:rate5m",
        "state_cache_errors_total",
        "state_cache_breaker_open",
        "state_cache_unrepaired_keys",
        "state_db_read_duration_seconds_bucket",
        "state_db_write_duration_seconds_bucket",
    ):
        assert sign in text


def test_recorded_names_are_recorded_before_they_are_used() -> None:
    known: set[str] = set()
    for rule in rules():
        used = set(re.findall(r"state_cache:[\w:]+", rule["expr"]))
        assert used <= known
        known |= {rule["record"]} if "record" in rule else set()


def test_the_dashboard_s_panels_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        taken |= cells


def test_the_dashboard_names_no_server_and_uses_its_own_variables_only() -> None:
    text = (DEPLOY / "grafana" / "dashboard.json").read_text()
    variables = {variable["name"] for variable in dashboard()["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]\w*)", text)) <= variables
    assert "://" not in text


def test_the_redis_user_has_no_password_that_works() -> None:
    lines = (DEPLOY / "redis" / "users.acl").read_text().splitlines()
    assert len(lines) == 1
    passwords = [word for word in lines[0].split() if word.startswith((">", "#", "nopass"))]
    assert passwords == ["#PUT-THE-SHA256-OF-THE-PASSWORD-HERE"], "which every server refuses"

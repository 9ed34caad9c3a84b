"""The troubles side by side, as a table for readers."""

from __future__ import annotations

from typing import Final

import pandas as pd

from statecache.study.histograms import P99_SAMPLES
from statecache.study.questions.degradation.findings import Findings
from statecache.study.questions.degradation.sentences import load_text

__all__ = ["FORMATS", "table", "table_caption"]


def table(findings: Findings) -> pd.DataFrame:
    """Return the figures of each trouble for readers."""
    rows = findings.by_trouble
    return pd.DataFrame(
        {
            "cache": rows["name"],
            "requests": rows["requests"],
            "errors": rows["errors"],
            "lost writes": rows["lost"],
            "stale reads": rows["stale"],
            "after repair": rows["stale_after_repair"] + rows["stale_at_the_end"],
            "added p50 (ms)": rows["p50_ms_trouble"] - rows["p50_ms_healthy"],
            "added p99 (ms)": rows["p99_ms_trouble"] - rows["p99_ms_healthy"],
            "used again (s)": rows["used_after_s"],
            "hit rate back (s)": rows["warm_after_s"],
            "statements/s before": rows["statements_per_s_healthy"],
            "during": rows["statements_per_s_trouble"],
            "log lines": rows["log_lines"],
        }
    )


#: How the columns of ``table`` are shown.
FORMATS: Final = {
    "requests": ",.0f",
    "added p50 (ms)": "+.2f",
    "added p99 (ms)": "+.1f",
    "used again (s)": ".2f",
    "hit rate back (s)": ".2f",
    "statements/s before": ",.0f",
    "during": ",.0f",
    "log lines": ".0f",
}


def table_caption(findings: Findings) -> str:
    """Return what stands above the table."""
    rows, settings = findings.by_trouble, findings.recorded.settings
    fewest = int(rows["samples_trouble"].min())
    said = (
        f"Every trouble, {load_text(findings)}, profile loopback. Added latency compares the "
        f"{settings.trouble_s:g} s from its beginning with the {settings.healthy_s:g} s before; "
        "stale reads are those of the manager that does not write; hit rate back: at least 90 % of "
        "what it was, over a quarter of a second."
    )
    if fewest < P99_SAMPLES:
        said += (
            f" The 99th percentiles rest on {fewest:,} requests or more and are descriptive: "
            f"a verdict would need {P99_SAMPLES:,}."
        )
    return said

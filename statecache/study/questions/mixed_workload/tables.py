"""The table of the mixed workload, for readers, and what stands above it."""

from __future__ import annotations

import math
from typing import Final

import pandas as pd

from statecache.study.questions.mixed_workload.findings import Findings
from statecache.study.questions.mixed_workload.sentences import ttl_text

__all__ = ["TABLE_FORMATS", "table", "table_caption"]


def table(findings: Findings) -> pd.DataFrame:
    """Return a row for each condition, for readers; units in the column names."""
    grid, longest = findings.grid, findings.run.settings.longest_ttl_s
    return pd.DataFrame(
        {
            "mechanisms": grid["mechanisms"],
            "reads (%)": 100 * grid["read_share"],
            "TTL": grid["ttl_s"].map(lambda ttl: "" if math.isnan(ttl) else ttl_text(ttl)),
            "requests a key in a TTL": grid["ttl_requests"].where(grid["ttl_s"] < longest),
            "hits (%)": 100 * grid["hit_rate"],
            "ops/s": grid["ops_s"],
            "÷ no cache, same gathering": grid["gain"].where(grid["cell"] != grid["against"]),
            "from": grid["gain_low"].where(grid["cell"] != grid["against"]),
            "to": grid["gain_high"].where(grid["cell"] != grid["against"]),
            "÷ none": grid["total"],
            "statements/op": grid["statements"],
            "backend µs/op": grid["cpu_us"],
            "writes absorbed (%)": 100 * grid["absorbed"],
            "client (cores)": grid["client_share"],
        }
    )


#: How the columns of ``table`` are shown.
TABLE_FORMATS: Final = {
    "reads (%)": ".0f",
    "requests a key in a TTL": ".2g",
    "hits (%)": ".1f",
    "ops/s": ",.0f",
    "÷ no cache, same gathering": ".2f",
    "÷ none": ".2f",
    "from": ".2f",
    "to": ".2f",
    "statements/op": ".3f",
    "backend µs/op": ".0f",
    "writes absorbed (%)": ".1f",
    "client (cores)": ".2f",
}


def table_caption(findings: Findings) -> str:
    """Return what stands above the table."""
    return (
        f"Every condition, {findings.pairs} blocks, {findings.run.settings.callers} callers, "
        f"{findings.run.pool.best} connections (the best of those swept), profile "
        f"{findings.profile}. Throughput is compared in pairs with the manager that gathers alike "
        "and has no cache; limits at 95 %. The uncached manager against itself: "
        f"{findings.noise.mean:.2f}x ({findings.noise.low:.2f}–{findings.noise.high:.2f})."
    )

"""The cells of the TTL sweep as a table for readers."""

from __future__ import annotations

from typing import Final

import pandas as pd

from statecache.study.questions.ttl_sweep.cells import QUIET_SHARE
from statecache.study.questions.ttl_sweep.findings import Findings, ttl_name

__all__ = ["CELL_FORMATS", "cell_caption", "cell_table"]


def cell_table(findings: Findings) -> pd.DataFrame:
    """Return the cells for readers: a row a pass and TTL, units in the column names."""
    cells = findings.cached_cells
    return pd.DataFrame(
        {
            "pass from": cells["start"],
            "TTL": cells["ttl_min"].map(ttl_name),
            "live (%)": 100 * cells["hit_rate"],
            "executed (%)": 100 * cells["hit_rate_executed"],
            "live, shared too (%)": 100 * cells["served_rate"],
            "planned (%)": 100 * cells["hit_rate_planned"],
            "statements": cells["statements"],
            "cache commands": cells["redis_commands"],
            "commit p99 (ms)": cells["commit_p99_us"] / 1e3,
            "quick": cells["quiet"].map({True: "yes", False: "no"}),
        }
    ).reset_index(drop=True)


#: How the columns of ``cell_table`` are shown.
CELL_FORMATS: Final = {
    "live (%)": ".2f",
    "executed (%)": ".2f",
    "live, shared too (%)": ".2f",
    "planned (%)": ".2f",
    "statements": ",.0f",
    "cache commands": ",.0f",
    "commit p99 (ms)": ".1f",
}


def cell_caption(findings: Findings) -> str:
    """Return what stands above the table of cells."""
    cells = findings.sweep.cells
    return (
        "Every pass and TTL: live hit rate beside the exact replay of the executed times, the same "
        "with loads that shared a fetch beside the replay of the planned times, and the servers' "
        "own counts; quick where the 99th percentile of commits is at most "
        f"{100 * QUIET_SHARE:g} % of the TTL. Requests started up to "
        f"{cells['late_p99_us'].max() / 1e3:.1f} ms late (largest 99th percentile), and the client "
        f"used up to {100 * cells['cpu_share'].max():.0f} % of a core."
    )

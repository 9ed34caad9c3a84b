"""The tuning of a TTL as tables for readers."""

from __future__ import annotations

from typing import Final

import pandas as pd

from statecache.study.advisor import wording
from statecache.study.questions.tune_ttl.measure import Tuning

__all__ = ["CURVE_FORMATS", "PROOF_FORMATS", "curve_table", "group_table", "proof_table"]

CURVE_FORMATS: Final = {"hit rate (%)": ".1f", "statements/s": ".3g", "states": ".3g"}
PROOF_FORMATS: Final = {
    "live (%)": ".2f",
    "executed (%)": ".2f",
    "live, shared too (%)": ".2f",
    "planned (%)": ".2f",
    "statements": ",.0f",
    "executed": ",.0f",
    "planned": ",.0f",
}


def curve_table(tuning: Tuning) -> pd.DataFrame:
    """Return some rows of the curve, the advised TTL, its half and its double among them."""
    rows = wording.curve_table(tuning.advice)
    return pd.DataFrame(
        {
            "TTL": rows["ttl_s"].map(wording.duration),
            "hit rate (%)": 100 * rows["hit_rate"],
            "statements/s": rows["db_qps"],
            "states": rows["mean_live_keys"],
            "memory": rows["memory_bytes"].map(wording.size),
            "within limits": rows["meets"].astype(bool),
            "": rows["note"],
        }
    )


def proof_table(tuning: Tuning) -> pd.DataFrame:
    """Return live beside the two replays, a row a TTL."""
    cells = tuning.cells
    return pd.DataFrame(
        {
            "TTL": cells["ttl_s"].map(wording.duration),
            "live TTL (ms)": cells["live_ttl_ms"],
            "live (%)": 100 * cells["hit_rate"],
            "executed (%)": 100 * cells["hit_rate_executed"],
            "live, shared too (%)": 100 * cells["served_rate"],
            "planned (%)": 100 * cells["hit_rate_planned"],
            "statements": cells["statements"],
            "executed": cells["statements_executed"],
            "planned": cells["statements_planned"],
            "quiet": cells["quiet"].astype(bool),
        }
    )


def group_table(tuning: Tuning) -> pd.DataFrame:
    """Return the groups of keys with a TTL of their own; empty where there are none."""
    groups = tuning.advice.groups
    if groups is None:
        return pd.DataFrame()
    table, memory = groups.table, "KB" if groups.unit == "bytes" else "states"
    scale = 1e3 if groups.unit == "bytes" else 1.0
    return pd.DataFrame(
        {
            f"keys by {groups.by}": table["group"],
            "keys": table["keys"],
            "reads": table["reads"],
            "own TTL": table["ttl_s"].map(wording.duration),
            "hit rate (%)": 100 * table["hit_rate"],
            "with one TTL (%)": 100 * table["hit_rate_one"],
            f"memory ({memory})": table["memory"] / scale,
            f"with one TTL ({memory})": table["memory_one"] / scale,
        }
    )

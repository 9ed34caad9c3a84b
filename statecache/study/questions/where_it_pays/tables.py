"""The tables of the notebook, with their captions."""

from __future__ import annotations

import pandas as pd

from statecache.study.questions.where_it_pays.findings import Findings

__all__ = ["calibration_caption", "cost_caption", "cost_table", "memory_caption", "memory_table"]


def cost_table(findings: Findings) -> pd.DataFrame:
    """Return CPU seconds a million events for readers, by profile and callers."""
    events = findings.events
    return pd.DataFrame(
        {
            "profile": [
                f"{name} (void)" if void else name
                for name, void in zip(events["profile"], events["void"], strict=True)
            ],
            "callers": events["callers"],
            "PostgreSQL, no cache (s)": events["database_without"],
            "PostgreSQL, cache (s)": events["database_with"],
            "Redis (s)": events["redis"],
            "both, cache (s)": events["database_with"] + events["redis"],
            "client, no cache (s)": events["client_without"],
            "client, cache (s)": events["client_with"],
        }
    )


def memory_table(findings: Findings) -> pd.DataFrame:
    """Return what states take in Redis for readers, a row a kind."""
    means = findings.measured.memory.groupby("kind", sort=False).mean()
    return pd.DataFrame(
        {
            "state": means.index,
            "JSON (bytes)": means["json_bytes"].to_numpy(),
            "in Redis (bytes)": means["bytes"].to_numpy(),
            "a million triggers (MiB)": means["bytes"].to_numpy() * 1e6 / 2**20,
        }
    )


def cost_caption(findings: Findings) -> str:
    """Return what stands above the table of costs."""
    return (
        "CPU seconds of a million events, a load and an update each, everything hits; means "
        f"over {findings.measured.settings.blocks} blocks, by profile. Redis's own idle time "
        "is part of its share."
    )


def memory_caption(findings: Findings) -> str:
    """Return what stands above the table of memory."""
    return (
        "Memory of a cached state in Redis, key and overhead included, for the documented key "
        f"prefix: means of {findings.measured.settings.states} states of each kind, profile "
        "loopback."
    )


def calibration_caption(findings: Findings) -> str:
    """Return what stands above the table of calibrations."""
    void = ", ".join(sorted(findings.measured.void)) or "none"
    return (
        "What the relays add to a round trip, measured against an echo before each profile. "
        f"Void: {void}."
    )

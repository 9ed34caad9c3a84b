"""The advice as data: what a program reads, and a notebook keeps."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from statecache.study.advisor import wording
from statecache.study.advisor.advice import Advice

__all__ = ["summary"]


def summary(advice: Advice) -> dict[str, Any]:
    """Return the advice as plain values that JSON can hold; what is not known is None.

    feasible, ttl_s, configuration, sentence, shortfall (sentences), knee_s, limits (each with its
    bound and the stretches of TTLs that it excludes), chosen, around (rows of the curve),
    peak_keys, peak_db_qps, curve, halves, groups, adaptive.
    """
    choice, halves, groups, adaptive = advice.choice, advice.halves, advice.groups, advice.adaptive
    return {
        "feasible": advice.feasible,
        "ttl_s": advice.ttl_s,
        "configuration": advice.configuration,
        "sentence": wording.headline(advice),
        "shortfall": wording.shortfall_sentences(advice),
        "knee_s": choice.knee_s,
        "limits": [
            {
                "limit": one.limit.name,
                "of": one.limit.column,
                "bound": one.limit.bound,
                "excludes_s": [[_plain(end) for end in stretch] for stretch in one.stretches],
            }
            for one in choice.exclusions
        ],
        "chosen": _rows(choice.row.to_frame().T)[0],
        "peak_keys": _plain(advice.peak_keys),
        "peak_db_qps": _plain(advice.peak_db_qps),
        "around": _rows(advice.around),
        "halves": None
        if halves is None
        else {
            "learnt_ttl_s": halves.first.ttl_s,
            "own_ttl_s": halves.second.ttl_s,
            "hit_rate_regret": _plain(halves.regret),
            "more_statements": _plain(halves.more_statements),
            "limits_broken": halves.broken,
        },
        "groups": None
        if groups is None
        else {
            "by": groups.by,
            "unit": groups.unit,
            "worth_it": groups.worth_it,
            "hit_rate_gain": _plain(groups.gain),
            "memory_saved": _plain(groups.saved_memory),
            "table": _rows(groups.table),
        },
        "adaptive": None
        if adaptive is None
        else {
            "target_hit_rate": _plain(adaptive.target),
            "hit_rate": _plain(adaptive.lived.hit_rate),
            "live_keys": _plain(adaptive.lived.live_keys),
            "memory_bytes": _plain(adaptive.lived.memory_bytes),
            "gain_over_same_memory": _plain(adaptive.gain),
            "configuration": adaptive.configuration,
        },
        "curve": _rows(choice.curve),
    }


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): _plain(value) for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, str | bool | int):
        return value
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Advice on a folder that need not fit into memory."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Unpack

from statecache.study.advisor.advice import Advice, advise_by_curve
from statecache.study.advisor.curve import CurveOf, Policy
from statecache.study.advisor.limits import Limits
from statecache.study.replay.settings import Behaviour
from statecache.study.scale.divided import Divided, Where, divided, part_of
from statecache.study.traces import rows
from statecache.study.traces.layout import Columns
from statecache.study.traces.reading import OnProgress

__all__ = ["advise_on_folder"]


def advise_on_folder(
    folder: str | Path,
    limits: Limits | None = None,
    policy: Policy | None = None,
    *,
    columns: Columns | None = None,
    on_progress: OnProgress = lambda _share, _what: None,
    **where: Unpack[Where],
) -> tuple[Advice, rows.Tally]:
    """Advise on the TTL for parquet files, and tell the rows that were left out.

    TTL, curve and limits are those of ``advise(read_trace(folder), …)``. Of halves of the trace, of
    groups of keys and of the peak of entries, which need the trace in one piece, nothing is said.

    Raises as ``advise`` and :func:`distributed_tally` do.
    """
    limits, policy = limits or Limits(), policy or Policy()
    with divided(folder, columns, where, part_of(on_progress, 0.0, 0.4)) as parts:
        advice = advise_by_curve(
            _replayed(parts, policy, on_progress),
            operations=parts.operations,
            keys=0,
            duration_s=parts.span_s[1] - parts.span_s[0],
            limits=limits,
            policy=policy,
        )
        on_progress(1.0, "done")
        return replace(advice, keys=parts.keys), parts.lines


def _replayed(parts: Divided, policy: Policy, on_progress: OnProgress) -> CurveOf:
    behaviour = asdict(Behaviour(policy.expiry, policy.writes, policy.bypass_share, policy.seed))
    shares = iter(((0.4, 0.7), (0.7, 0.9)))  # the grid; then the refinement, and TTLs for the table

    return lambda ttls: policy.curve(
        parts.tally(ttls, behaviour, part_of(on_progress, *next(shares, (0.9, 1.0))))
    )

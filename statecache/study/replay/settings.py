"""What a replay is asked for: how the cache behaves, and under which TTLs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from statecache.study.errors import StudyError

__all__ = ["Behaviour", "Expiry", "Writes", "checked_ttls"]

Expiry = Literal["fixed", "sliding"]
Writes = Literal["through", "invalidate", "ignore"]

_HIGHEST_SEED: Final = 2**63


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the cache behaves; the words are those of :mod:`statecache.study.replay`.

    Raises StudyError for an unknown word, a share outside 0 to 1 and a seed that is no integer of
    at most 63 bits.
    """

    expiry: Expiry = "fixed"
    writes: Writes = "through"
    bypass_share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("expiry", self.expiry, get_args(Expiry)),
            ("writes", self.writes, get_args(Writes)),
        ):
            if value not in known:
                verb = "are" if name == "writes" else "is"
                raise StudyError(
                    f"The {name} {value!r} {verb} unknown: use one of {', '.join(known)}."
                )
        if not 0 <= self.bypass_share <= 1:
            raise StudyError(
                f"The share {self.bypass_share} of writes that bypass the cache is out of range: "
                "give 0 to 1."
            )
        if not 0 <= self.seed < _HIGHEST_SEED:
            raise StudyError(
                f"The seed {self.seed} is out of range: give 0 to {_HIGHEST_SEED - 1}."
            )


def checked_ttls(ttls: Iterable[float]) -> NDArray[np.float64]:
    """Return TTLs as an array; StudyError for one that is negative, NaN or not a number."""
    given = list(ttls)
    try:
        seconds = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StudyError(f"The TTLs {given!r} are not all numbers: give seconds.") from error
    if np.any(bad := ~(seconds >= 0)):
        raise StudyError(f"The TTL {seconds[bad][0]} is out of range: give 0 seconds or more.")
    return seconds

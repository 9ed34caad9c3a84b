"""What is done to the cache, how much load there is, and how long each phase takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from statecache.study.errors import StudyError

__all__ = ["DISABLED", "LASTING", "NAMES", "Settings"]

#: No trouble, and no cache either: the documented rollback.
DISABLED: Final = "disabled"

#: Trouble → what it is called in figures and tables.
NAMES: Final = {
    "none": "no trouble",
    "dead": "killed",
    "hung": "hung",
    "slow": "100 ms slower",
    "resetting": "resetting",
    "emptied": "emptied",
    "restarted": "restarted",
    DISABLED: "cache disabled",
}

#: Troubles that last; the others are a moment.
LASTING: Final = frozenset({"dead", "hung", "slow", "resetting"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Troubles by the names of ``NAMES``; raises ``StudyError`` for another one."""

    troubles: Sequence[str]
    repetitions: int
    rate_per_s: float
    read_share: float
    keys: int
    healthy_s: float
    trouble_s: float
    recovery_s: float
    callers: int = 128
    pool_size: int = 16
    bin_ms: int = 100
    seed: int = 1

    def __post_init__(self) -> None:
        unknown = [name for name in self.troubles if name not in NAMES]
        if unknown or not self.troubles:
            raise StudyError(
                f"the troubles are {list(self.troubles)}: choose from {', '.join(NAMES)}."
            )

    @property
    def fingerprint(self) -> str:
        """A short hash of all that a timeline depends on, so that no run takes another one's."""
        chosen = asdict(self)
        del chosen["troubles"], chosen["repetitions"]
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]

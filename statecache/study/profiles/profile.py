"""Deployment profiles as data: the round trip that each server is to be further away."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Final

from statecache.study.errors import StudyError

__all__ = ["LOOPBACK_PROFILE", "MOST_MS", "PROFILES", "Profile", "ProfileError", "parse_profile"]

#: Beyond this no deployment of a cache makes sense, and the calibration would take minutes.
MOST_MS: Final = 100.0


class ProfileError(StudyError):
    """The profile asked for is none, or cannot be had with these servers."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A deployment: the round trips, in ms, that are *added* to those of loopback.

    ``basis`` says in a sentence where the values come from; whatever follows from them alone is
    assumed, not found. Raises ``ProfileError`` for a round trip that is not within 0 and 100 ms.
    """

    name: str
    database_ms: float
    cache_ms: float
    basis: str = "chosen for this study"

    def __post_init__(self) -> None:
        for leg, added_ms in self.legs.items():
            if not 0 <= added_ms <= MOST_MS:
                raise ProfileError(
                    f"The profile {self.name!r} adds {added_ms:g} ms to the {leg} leg: give from "
                    f"0 to {MOST_MS:g} ms."
                )

    @property
    def legs(self) -> dict[str, float]:
        """The legs, "database" and "cache", with the round trip in ms that each is to gain."""
        return {"database": self.database_ms, "cache": self.cache_ms}


LOOPBACK_PROFILE: Final = Profile(
    "loopback", 0.0, 0.0, "client and servers share a machine, and nothing is added"
)

#: Name → profile. Between virtual machines, pings are published of 0.07 ms (Google, one zone, 2017)
#: and 0.45 ms (Amazon, one zone, 2014), and of 0.19 ms (Google, two zones) to 1.3–2.1 ms (Amazon,
#: two zones); Microsoft promised "less than approximately 2 ms" between zones until 2025.
#: https://tech.zarmory.com/2017/12/quick-test-for-gcp-inter-zone-networking.html
#: https://gist.github.com/josephmisiti/10312241
#: https://github.com/MicrosoftDocs/azure-docs/commit/846ee74f7de21865f25b5d401846b205a0dca9eb
PROFILES: Final[dict[str, Profile]] = {
    profile.name: profile
    for profile in (
        LOOPBACK_PROFILE,
        # On loopback a read by hand takes .07 ms, so 2.4 are missing. A hit takes .05 ms by hand
        # and .1 through the manager, and a relay's own cost would be as much as is missing.
        Profile(
            "documented",
            2.4,
            0.0,
            "assumed: a database read is documented to take 2.5 ms, of which loopback takes .1; "
            "a cache hit, documented to take .15 ms, takes about that on loopback",
        ),
        Profile(
            "same-zone",
            0.3,
            0.3,
            "assumed, within published pings between virtual machines of one cloud zone: "
            ".07 to .45 ms",
        ),
        Profile(
            "cross-zone",
            1.0,
            1.0,
            "assumed, within published pings between zones of one cloud region: .2 to 2 ms",
        ),
    )
}


def parse_profile(text: str) -> Profile:
    """Return the profile of that name, or one's own from text such as "database=2.4,cache=0.3".

    Values are the round trips to add in ms; a leg that is left out gains none. Raises
    ``ProfileError``, which says what is allowed.
    """
    wanted = text.strip()
    if wanted in PROFILES:
        return PROFILES[wanted]
    if "=" not in wanted:
        near = difflib.get_close_matches(wanted, PROFILES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else _allowed()
        raise ProfileError(f"No profile is called {text!r}: {hint}")
    legs: dict[str, float] = {}
    for part in wanted.split(","):
        leg, _, value = (word.strip() for word in part.partition("="))
        if leg not in LOOPBACK_PROFILE.legs or leg in legs or not _NUMBER.fullmatch(value):
            raise ProfileError(f"The profile {text!r} is not understood at {part!r}: {_allowed()}")
        legs[leg] = float(value)
    database_ms, cache_ms = legs.get("database", 0.0), legs.get("cache", 0.0)
    if not database_ms and not cache_ms:
        return LOOPBACK_PROFILE
    return Profile(f"database={database_ms:g},cache={cache_ms:g}", database_ms, cache_ms)


_NUMBER = re.compile(r"-?(\d+(\.\d*)?|\.\d+)", re.ASCII)


def _allowed() -> str:
    return (
        f"choose from {', '.join(PROFILES)}, or give the milliseconds to add, such as "
        "database=2.4,cache=0.3."
    )

"""The states that are written: each differs from every other, and has the size that is asked for.

Imports nothing heavy: a second process that writes them has to start quickly.
"""

from __future__ import annotations

import random
import string
from functools import cache
from typing import Any, Final

import orjson

__all__ = ["LARGEST_BYTES", "document", "least_size", "trigger_ids"]

#: The limit of a state, by default.
LARGEST_BYTES: Final = 1 << 20

#: What every document holds besides its number; about 190 bytes of JSON in all.
_TEMPLATE: Final[dict[str, Any]] = {
    "route": "JFK-LAX",
    "ema": 21.375,
    "fired": 3,
    "window": [12.0, -3.5, 47.25, 0.0, 8.125],
    "limits": {"threshold_min": 20.0, "weight": 0.2},
    "last_event": "2013-02-04T17:25:00Z",
}


def trigger_ids(count: int) -> list[str]:
    """Return ids of triggers as an application would name them."""
    return [f"trigger_{number:06d}" for number in range(count)]


def document(number: int, size: int = 0) -> dict[str, Any]:
    """Return a state that differs from every other number's, of about ``size`` bytes or more."""
    state = {**_TEMPLATE, "count": number}
    missing = size - least_size()
    if missing > 0:
        state["note"] = _filler()[:missing]
    return state


@cache
def least_size() -> int:
    """Return the bytes of JSON of the smallest document."""
    return len(orjson.dumps({**_TEMPLATE, "count": 1_000_000}))


@cache
def _filler() -> str:
    """Return a text of the largest size that compresses about as well as prose."""
    draw = random.Random(20)  # noqa: S311 - the same every time
    words = [
        "".join(draw.choices(string.ascii_lowercase, k=draw.randint(3, 8))) for _ in "x" * 2_000
    ]
    return " ".join(draw.choices(words, k=LARGEST_BYTES // 4))[:LARGEST_BYTES]

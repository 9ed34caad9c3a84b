"""What may be a trigger id and a state, and the bytes a state is kept as."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, Final

import orjson

from statecache.errors import InvalidState, InvalidTriggerId

__all__ = [
    "check_trigger_id",
    "check_trigger_ids",
    "check_version",
    "compact",
    "decode_state",
    "encode_state",
]

MAX_TRIGGER_ID_BYTES = 512

#: A U+0000 in encoded JSON: the escape, behind an even number of backslashes.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def check_trigger_id(trigger_id: str) -> str:
    """Return the trigger id, or raise ``InvalidTriggerId``.

    A trigger id is a non-empty string of at most 512 bytes of UTF-8 without U+0000.
    """
    if not isinstance(trigger_id, str):
        raise InvalidTriggerId(f"the trigger id {trigger_id!r:.80} is not a string: pass a str.")
    if not trigger_id:
        raise InvalidTriggerId("the trigger id is empty: pass at least one character.")
    if "\0" in trigger_id:
        raise InvalidTriggerId(
            f"the trigger id {trigger_id!r:.80} holds U+0000, which PostgreSQL cannot store: "
            "remove it."
        )
    # An ASCII string, the common case, has as many bytes as characters: nothing to encode.
    if trigger_id.isascii():
        size = len(trigger_id)
    else:
        try:
            size = len(trigger_id.encode())
        except UnicodeEncodeError:
            raise InvalidTriggerId(
                f"the trigger id {trigger_id!r:.80} holds a lone surrogate: pass valid Unicode."
            ) from None
    if size > MAX_TRIGGER_ID_BYTES:
        raise InvalidTriggerId(
            f"the trigger id {trigger_id[:40]!r}… has {size} bytes: "
            f"at most {MAX_TRIGGER_ID_BYTES} are allowed."
        )
    return trigger_id


def check_trigger_ids(trigger_ids: Iterable[str]) -> list[str]:
    """Return the trigger ids, each once, or raise ``InvalidTriggerId``."""
    if isinstance(trigger_ids, str | bytes):
        raise InvalidTriggerId(
            f"{trigger_ids!r:.80} is one trigger id where several are expected: pass a list of it."
        )
    return list(dict.fromkeys(map(check_trigger_id, trigger_ids)))


def check_version(version: Any) -> int:
    """Return an expected version, or raise ``InvalidState``."""
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < 1 << 63:
        raise InvalidState(
            f"expected_version is {version!r}: pass the version that load_versioned returned, 0 "
            "for a state that does not exist."
        )
    return int(version)


def encode_state(state: Any, max_bytes: int) -> bytes:
    """Return the state as UTF-8 JSON, or raise ``InvalidState``.

    Refused is what is not JSON or what jsonb cannot store: NaN and infinities, bytes, keys that
    are not strings, integers beyond 64 bits, lone surrogates, U+0000, nesting of 255 or more, and
    anything over ``max_bytes``. ``None`` is not a state. Tuples are stored as lists, UUIDs and
    enumerations as their values.
    """
    if state is None:
        raise InvalidState("None is not a state: call delete_state to remove a state.")
    try:
        encoded = orjson.dumps(state, option=_STRICT)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise InvalidState(f"the state is not JSON ({error}): pass JSON values only.") from None
    if len(encoded) > max_bytes:
        raise InvalidState(
            f"the state has {len(encoded)} bytes of JSON: at most {max_bytes} are allowed "
            "(STATE_CACHE_MAX_STATE_BYTES)."
        )
    # orjson writes NaN and infinities as null, so only a text with a null can hide one.
    if b"null" in encoded and _holds_nonfinite(state):
        raise InvalidState("the state holds NaN or an infinity, which JSON does not have.")
    if b"\\u0000" in encoded and _NUL.search(encoded):
        raise InvalidState("the state holds U+0000, which jsonb cannot store: remove it.")
    return encoded


#: Returns a fresh JSON value for bytes, or raises ``ValueError`` where they are not JSON.
decode_state: Final = orjson.loads


def compact(payload: bytes) -> bytes:
    """Return JSON text from PostgreSQL without the spaces it puts in, a tenth of a small state.

    It decodes to the same value. What cannot be written again stays as it is.
    """
    try:
        return orjson.dumps(orjson.loads(payload))
    except (ValueError, TypeError):  # SQL by hand can store what no manager would
        return payload


#: Dates and dataclasses are not JSON; orjson would write them as strings and objects unasked.
_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def _holds_nonfinite(value: Any) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return True
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
    return False

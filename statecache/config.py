"""Settings of the managers, from keyword arguments or the environment."""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import UnionType
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from statecache.errors import ConfigError

__all__ = ["CacheConfig", "check_database_url", "check_number", "url_from_env"]

log = logging.getLogger("statecache")

PREFIX = "STATE_CACHE_"

_TEN_YEARS = 10 * 365 * 86_400

#: The least and the most that a number may be.
_RANGES: dict[str, tuple[float, float]] = {
    "ttl_secs": (0.001, _TEN_YEARS),
    "timeout_ms": (1, 60_000),
    "max_state_bytes": (2, 64 << 20),
    "fill_deadline_ms": (1, 600_000),
    "tombstone_secs": (0.001, 86_400),
    "breaker_threshold": (1, 1_000_000),
    "breaker_max_wait_ms": (1, 600_000),
    "pool_size": (1, 10_000),
    "db_timeout_ms": (1, 3_600_000),
    "max_db_reads": (0, 100_000),
    "repair_poll_secs": (0, 3_600),
    "memory_items": (0, 100_000_000),
    "memory_ttl_secs": (0.001, 86_400),
    "compress_min_bytes": (0, 64 << 20),
    "negative_ttl_secs": (0, 3_600),
    "ttl_jitter": (0, 0.9),
    "early_refresh": (0, 1_000),
    "target_hit_rate": (0, 0.999999),
    "ttl_min_secs": (0.001, _TEN_YEARS),
    "ttl_max_secs": (0.001, _TEN_YEARS),
}

#: What PostgreSQL takes as an identifier without surprises: it is folded to lower case elsewhere.
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """How a manager caches; every value is checked when the object is made.

    Every field is also an environment variable: ``ttl_secs`` is ``STATE_CACHE_TTL_SECS``.

    Raises ``ConfigError`` for a value of another type or out of range.
    """

    #: Whether Redis is used at all; ``False`` is the rollback and opens no connection to it.
    enabled: bool = True
    #: Time to live of a cached state, in seconds (milliseconds are kept: 0.25 is 250 ms).
    ttl_secs: float = 300.0
    #: What the cache may cost a call before it is given up, in milliseconds; with threads, of
    #: connecting and of each read from the socket.
    timeout_ms: int = 50
    #: A cache key is this prefix followed by the trigger id.
    key_prefix: str = "trigger:state:"
    #: PostgreSQL schema that holds the table ``trigger_state``.
    schema: str = "public"
    #: The largest state, in bytes of encoded JSON.
    max_state_bytes: int = 1 << 20
    #: A state read from PostgreSQL is not cached once it is older than this, in milliseconds.
    fill_deadline_ms: int = 5_000
    #: How long a delete keeps slow readers from bringing the state back, in seconds.
    tombstone_secs: float = 60.0
    #: Failed calls in a row after which the cache is left alone for a while.
    breaker_threshold: int = 5
    #: The longest pause before the cache is tried again, in milliseconds.
    breaker_max_wait_ms: int = 1_000
    #: Connections to PostgreSQL that a manager made by ``from_env`` holds at most.
    pool_size: int = 10
    #: How long a statement may take before its connection is given up, in milliseconds.
    db_timeout_ms: int = 5_000
    #: Reads of PostgreSQL at a time, which protects it when the cache fails; 0 is no limit.
    max_db_reads: int = 0
    #: How often keys are repaired that the table of dirty keys names, in seconds. Managers then
    #: note there what the cache did not take, plain managers all they write; 0 is off.
    repair_poll_secs: float = 0.0
    #: States that the process keeps itself, without asking the cache; 0 is off.
    memory_items: int = 0
    #: How long it keeps one at most, in seconds; never longer than ``ttl_secs``.
    memory_ttl_secs: float = 60.0
    #: Gather concurrent calls into few commands and statements (asynchronous managers only).
    gather: bool = False
    #: Compress states of this many bytes and more; 0 is off.
    compress_min_bytes: int = 0
    #: How long "there is no such state" is cached, in seconds; 0 is off.
    negative_ttl_secs: float = 0.0
    #: Shorten each time to live at random by up to this share of it, 0 to 0.9.
    ttl_jitter: float = 0.0
    #: Refresh an entry before it expires, the likelier the nearer (XFetch's beta); 0 is off.
    early_refresh: float = 0.0
    #: Choose the time to live of each key for this hit rate, 0 to 1; 0 is off.
    target_hit_rate: float = 0.0
    #: The shortest and the longest time to live that may be chosen, in seconds.
    ttl_min_secs: float = 1.0
    ttl_max_secs: float = 86_400.0

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the field, the value and what is allowed."""
        for field in fields(self):
            limits = _RANGES.get(field.name)
            _check(field.name, getattr(self, field.name), str(field.type), limits)
        check_number("ttl_max_secs", self.ttl_max_secs, self.ttl_min_secs, _TEN_YEARS)
        if self.tombstone_secs * 1000 < 2 * self.fill_deadline_ms:
            raise ConfigError(
                f"tombstone_secs is {self.tombstone_secs:g}, which a fill can outlive: "
                f"take at least {2 * self.fill_deadline_ms / 1000:g}, twice fill_deadline_ms."
            )
        # Keys of statecache's own begin with the prefix and U+0000, which no trigger id holds.
        if not 0 < len(_utf_8(self.key_prefix)) <= 256 or "\0" in self.key_prefix:
            raise ConfigError(
                f"key_prefix is {self.key_prefix!r}: take 1 to 256 bytes of UTF-8 without U+0000 "
                "that no other program's keys begin with."
            )
        if not _IDENTIFIER.match(self.schema):
            raise ConfigError(
                f"schema is {self.schema!r}: take 1 to 63 lower-case letters, digits and "
                "underscores that do not begin with a digit."
            )

    @property
    def ttl_ms(self) -> int:
        """Time to live of a cached state, in milliseconds."""
        return max(1, round(self.ttl_secs * 1000))

    @property
    def tombstone_ms(self) -> int:
        """Life of a tombstone, in milliseconds."""
        return max(1, round(self.tombstone_secs * 1000))

    @property
    def effective_fill_deadline_ms(self) -> int:
        """Deadline of a fill, kept below half the shortest TTL.

        A newer entry must not expire while an older fill may still arrive.
        """
        shortest = self.ttl_ms
        if self.target_hit_rate:
            shortest = min(shortest, round(self.ttl_min_secs * 1000))
        return max(1, min(self.fill_deadline_ms, int(shortest * (1 - self.ttl_jitter)) // 2))

    @property
    def longest_ttl_secs(self) -> float:
        """The longest that an entry can live, in seconds."""
        return max(self.ttl_secs, self.ttl_max_secs if self.target_hit_rate else 0.0)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> CacheConfig:
        """Read every ``STATE_CACHE_*`` variable; an absent one leaves the default.

        Raises ``ConfigError`` that names the variable, its value and what is allowed. A variable
        that is no setting is logged as a warning (a rollback may meet newer settings).
        """
        environ = os.environ if environ is None else environ
        kinds: dict[str, str] = {field.name: str(field.type) for field in fields(cls)}
        values: dict[str, Any] = {}
        for variable, text in environ.items():
            if not variable.startswith(PREFIX):
                continue
            name = variable.removeprefix(PREFIX).lower()
            if name not in kinds:
                _warn_unknown(variable, [PREFIX + known.upper() for known in kinds])
                continue
            values[name] = _parse(variable, text, kinds[name])
        try:
            return cls(**values)
        except ConfigError as error:
            named = re.sub(r"^(\w+)", lambda m: PREFIX + m[1].upper(), str(error))
            raise ConfigError(named) from None


def url_from_env(name: str, environ: Mapping[str, str] | None = None) -> str:
    """Return a server's address from the environment, or say that it is missing."""
    url = (os.environ if environ is None else environ).get(name, "")
    if not url:
        example = {
            "DATABASE_URL": "postgresql://user:password@127.0.0.1:5432/events",
            "REDIS_URL": "redis://:password@127.0.0.1:6379/0",
        }.get(name, "")
        raise ConfigError(f"{name} is not set: give the server's address, such as {example}.")
    return url


def check_database_url(url: str, name: str) -> str:
    """Return an address of PostgreSQL, or raise ``ConfigError`` without quoting any of it."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        parts = {"port": "?"}
    # A password with a slash or an @ in it leads to a misread host or port, which drivers quote.
    if not re.fullmatch(r"[\d,]*", str(parts.get("port") or "")):
        raise ConfigError(
            f"{name} is not an address of PostgreSQL: take the form "
            "postgresql://user:password@host:port/database, special characters percent-encoded."
        )
    return url


def check_number(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> None:
    """Raise ``ConfigError`` unless the value is a number from ``low`` to ``high``."""
    _check(name, value, "int" if whole else "float", (low, high))


def _check(name: str, value: Any, kind: str, limits: tuple[float, float] | None) -> None:
    accepted, allowed, _parser = _KINDS[kind]
    fits = isinstance(value, accepted) and (kind == "bool" or not isinstance(value, bool))
    if limits is not None:
        low, high = limits
        fits = fits and low <= value <= high  # also false for NaN
        allowed += f" from {low:.15g} to {high:.15g}"
    if not fits:
        raise ConfigError(f"{name} is {value!r:.80}: take {allowed}.")


def _utf_8(text: str) -> bytes:
    """Return the text as UTF-8, nothing where it has none."""
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return b""


def _parse(variable: str, text: str, kind: str) -> Any:
    try:
        return _KINDS[kind][2](text.strip())
    except (ValueError, KeyError):
        raise ConfigError(f"{variable} is {text!r}: take {_KINDS[kind][1]}.") from None


_BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True)
_BOOLEANS |= dict.fromkeys(("false", "0", "no", "off"), False)

#: A field's annotation → the types of value it takes, how they are called, and what parses them.
_KINDS: dict[str, tuple[type | UnionType, str, Callable[[str], Any]]] = {
    "bool": (bool, "true or false", lambda text: _BOOLEANS[text.lower()]),
    "int": (int, "a whole number", int),
    "float": (int | float, "a number", float),
    "str": (str, "a text", str),
}


def _warn_unknown(variable: str, known: list[str]) -> None:
    near = difflib.get_close_matches(variable, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    log.warning("%s is not a setting of statecache%s", variable, hint)

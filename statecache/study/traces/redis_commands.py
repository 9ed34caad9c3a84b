"""What Redis's commands do to the states of keys, from their arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from statecache.study.traces.rows import UNKNOWN_SIZE
from statecache.study.traces.trace import DELETE, READ, WRITE

__all__ = ["Touch", "is_managers", "touches"]


class Touch(NamedTuple):
    """What a command does to one key."""

    key: bytes
    op: int
    size: int = UNKNOWN_SIZE


_Arguments: TypeAlias = Sequence[bytes]
_Command: TypeAlias = Callable[[_Arguments], Iterator[Touch]]

#: A manager's script has the epoch's key first. A fence comes with four values, a put with six and
#: three an entry, the first of which is the version and the kind.
_EPOCH: Final = b"\0epoch"
_FENCE_VALUES: Final = 4
_HEAD: Final = re.compile(rb"[0-7][0-9a-f]{15}([JZNDF])")


def touches(command: bytes, arguments: _Arguments) -> list[Touch]:
    """Return what a command (in capitals) does to keys; nothing for one that concerns no state.

    Raises IndexError or ValueError where arguments are missing.
    """
    does = _COMMANDS.get(command)
    return list(does(arguments)) if does else []


def is_managers(command: bytes, arguments: _Arguments) -> bool:
    """Return whether this is a script of statecache's manager, whose own commands follow it."""
    return command in (b"EVALSHA", b"EVAL") and len(arguments) > 2 and arguments[2].endswith(_EPOCH)


def _first(op: int) -> _Command:
    return lambda arguments: iter((Touch(arguments[0], op),))


def _each(op: int) -> _Command:
    return lambda arguments: (Touch(key, op) for key in arguments)


def _value_at(place: int) -> _Command:
    return lambda arguments: iter((Touch(arguments[0], WRITE, len(arguments[place])),))


def _pairs(arguments: _Arguments) -> Iterator[Touch]:
    for key, value in zip(arguments[::2], arguments[1::2], strict=True):
        yield Touch(key, WRITE, len(value))


def _getset(arguments: _Arguments) -> Iterator[Touch]:
    yield Touch(arguments[0], READ)
    yield Touch(arguments[0], WRITE, len(arguments[1]))


def _getdel(arguments: _Arguments) -> Iterator[Touch]:
    yield Touch(arguments[0], READ)
    yield Touch(arguments[0], DELETE)


def _rename(arguments: _Arguments) -> Iterator[Touch]:
    yield Touch(arguments[1], WRITE)
    yield Touch(arguments[0], DELETE)


def _copy(arguments: _Arguments) -> Iterator[Touch]:
    yield Touch(arguments[0], READ)
    yield Touch(arguments[1], WRITE)


def _expire(arguments: _Arguments) -> Iterator[Touch]:
    """Only a life that is over at once touches the state."""
    if int(arguments[1]) <= 0:
        yield Touch(arguments[0], DELETE)


def _managers_script(arguments: _Arguments) -> Iterator[Touch]:
    """Understand a put of the manager; its fills follow a read that has been counted.

    A fence is raised where a write could not be put, or was made behind the manager's back.
    """
    if not is_managers(b"EVALSHA", arguments):
        return
    count = int(arguments[1])
    keys, values = arguments[3 : 2 + count], arguments[2 + count :]
    if len(values) == _FENCE_VALUES:
        yield from (Touch(key, WRITE) for key in keys)
        return
    channel, entries = values[4], values[7:]
    if channel == b"":  # a fill, which nobody is told of
        return
    for place, key in enumerate(keys):
        head, payload = entries[3 * place], entries[3 * place + 2]
        kind = _HEAD.fullmatch(head)
        if kind is None:
            raise ValueError(head)
        if kind[1] == b"D":
            yield Touch(key, DELETE)
        elif kind[1] != b"N":
            yield Touch(key, WRITE, len(payload) if kind[1] != b"F" else UNKNOWN_SIZE)


_FIRST_IS_READ: Final = (
    "GET GETEX STRLEN GETRANGE SUBSTR GETBIT BITCOUNT BITPOS LCS HGET HMGET HGETALL HEXISTS HKEYS "
    "HVALS HLEN HSTRLEN HRANDFIELD HSCAN LRANGE LINDEX LLEN LPOS SMEMBERS SISMEMBER SMISMEMBER "
    "SCARD SRANDMEMBER SSCAN ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX ZSCORE "
    "ZMSCORE ZRANK ZREVRANK ZCARD ZCOUNT ZLEXCOUNT ZSCAN GEOPOS GEODIST GEOHASH GEOSEARCH XRANGE "
    "XREVRANGE XLEN JSON.GET DUMP"
)
_FIRST_IS_WRITTEN: Final = (
    "INCR DECR INCRBY DECRBY INCRBYFLOAT SETBIT SETRANGE APPEND HSET HSETNX HMSET HINCRBY "
    "HINCRBYFLOAT HDEL LPUSH RPUSH LPUSHX RPUSHX LPOP RPOP LSET LINSERT LREM LTRIM SADD SREM SPOP "
    "ZADD ZINCRBY ZREM ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREMRANGEBYLEX ZPOPMIN ZPOPMAX GEOADD XADD "
    "XTRIM XDEL PFADD JSON.SET JSON.DEL RESTORE"
)
_COMMANDS: Final[dict[bytes, _Command]] = {
    **dict.fromkeys(_FIRST_IS_READ.encode().split(), _first(READ)),
    **dict.fromkeys(_FIRST_IS_WRITTEN.encode().split(), _first(WRITE)),
    **dict.fromkeys((b"MGET", b"EXISTS"), _each(READ)),
    **dict.fromkeys((b"DEL", b"UNLINK"), _each(DELETE)),
    **dict.fromkeys((b"SET", b"SETNX"), _value_at(1)),
    **dict.fromkeys((b"SETEX", b"PSETEX"), _value_at(2)),
    **dict.fromkeys((b"MSET", b"MSETNX"), _pairs),
    **dict.fromkeys((b"RENAME", b"RENAMENX"), _rename),
    **dict.fromkeys((b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT"), _expire),
    b"GETSET": _getset,
    b"GETDEL": _getdel,
    b"COPY": _copy,
    # the manager sends a script's text only after its digest, which has been counted, was refused
    b"EVALSHA": _managers_script,
}

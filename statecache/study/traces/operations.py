"""What the operations are called elsewhere, and which of ours they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from statecache.study.traces.trace import DELETE, READ, WRITE

__all__ = ["MEMCACHED", "WORDS", "codes"]


def _words(read: str, write: str, delete: str) -> dict[str, int]:
    return {
        word: code
        for code, words in ((READ, read), (WRITE, write), (DELETE, delete))
        for word in words.split()
    }


#: Memcached's, as in Twitter's traces. Whatever makes a new value is a write, whether or not the
#: server reads the old one for it.
MEMCACHED: Final = _words(
    read="get gets",
    write="set add cas replace append prepend incr decr",
    delete="delete",
)

#: What a column of operations may hold, in small letters: our own words, memcached's, CacheLib's,
#: HTTP's methods and what people write.
WORDS: Final = MEMCACHED | _words(
    read="read r load lookup fetch select query hit miss get_lease head mget getex",
    write="write w update insert upsert create store save put post patch set_lease setex psetex "
    "setnx mset",
    delete="delete del d remove erase unlink purge invalidate evict",
)


def codes(words: Iterable[str], unknown: int) -> list[int]:
    """Return the operations' codes, ``unknown`` for words that mean none."""
    return [WORDS.get(word.strip().lower(), unknown) for word in words]

"""Exact replay of a trace: what each TTL would have given, in virtual time.

What the cache does:

* A read looks its key up at ``time_s`` and hits while the entry's age is at most the TTL, as in
  Redis, where a key is gone once now is past its expiry. A read that misses reads the database and
  fills the cache.
* A write makes the state exist in the database; what it does to the cache is the option ``writes``.
* A delete removes the state from the database and the cache. Later reads of the key are misses that
  find nothing to fill, until a write makes the state exist again. A key that the trace has not
  deleted is taken to exist in the database from the start.
* Whatever arms an entry gives it the age 0. With ``expiry="fixed"`` fills and writes through arm,
  with ``"sliding"`` hits do as well.
* An entry has the size of the operation that armed it last.

**Writes that bypass the cache.** Of the writes, a share ``bypass_share`` reaches only the database:
SETs that got lost, or writers that know nothing of the cache. Which ones is drawn from ``seed``,
see :mod:`statecache.study.replay.bypass`. An entry that such a write (or, with ``writes="ignore"``,
any write) overtook is stale until a fill or a write through replaces it; a hit on it is a stale
hit. A hit arms a sliding entry and leaves it as stale as it was. Deletes bypass nothing.

**Operations that take time.** A recorded live run knows two instants of an operation: ``time_s``,
its look-up, and ``armed_s``, when its fill, write or removal reached the cache. Both of them are
events of their own, and the events of a key happen in order of their instants, ties in the order of
the trace, an operation's look-up before its own effect:

* A read sees what reached the cache before its look-up, even from an operation that began later.
* A read's look-up decides whether it misses. Its fill takes effect at its ``armed_s``, whatever
  came in between, with the state that the database has at that instant, if it has one; so a fill
  overtaken by a delete is dropped, and two overlapping misses of a key both fill (a coalesced miss
  is a miss).
* The effect that comes later in ``armed_s`` order replaces the earlier one, its expiry included.
* A write or delete changes cache and database in one instant, its ``armed_s``.
* A hit has no later effect: with ``expiry="sliding"`` it arms at ``time_s``.

Without ``armed_s`` every operation takes effect at ``time_s``, in the order of the trace.

**Partitions.** Keys know nothing of each other. :func:`tally` returns sums that add up: those of
the parts of a trace that is divided by key are those of the whole. :func:`curve_of` turns them into
the frame that :func:`hit_curve` returns.
"""

from statecache.study.replay.occupancy import live_over_time
from statecache.study.replay.replaying import hit_curve, tally
from statecache.study.replay.settings import Expiry, Writes
from statecache.study.replay.sums import Tally, curve_of

__all__ = ["Expiry", "Tally", "Writes", "curve_of", "hit_curve", "live_over_time", "tally"]

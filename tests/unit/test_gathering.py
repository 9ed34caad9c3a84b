from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from statecache import ConfigError, InvalidState
from statecache.begun import Begun
from statecache.gathering import (
    MAX_BYTES,
    MAX_KEYS,
    WORTH_A_BATCH,
    AsyncGatheredReads,
    AsyncGatheredWrites,
    GatheredReads,
)
from statecache.stats import Tally

Writes = AsyncGatheredWrites[int, dict[str, int]]
PassOn = Callable[[dict[str, int]], Coroutine[Any, Any, dict[str, int]]]


async def passed_on(written: dict[str, int]) -> dict[str, int]:
    return written


Written = dict[str, int]


def never(written: Written) -> tuple[Written, Written]:
    """Let nobody be answered before all is passed on."""
    return written, {}


def always(written: Written) -> tuple[Written, Written]:
    return written, written


class Backend:
    """Answers batches when it is told to, and notes them."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[Any] = []
        self.rows: dict[str, bytes | None] = {}
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()
        #: Keys of batches that were cancelled.
        self.doubtful: list[str] = []
        #: Raised by the next batch, and by the batches of these numbers.
        self.error: BaseException | None = None
        self.errors: dict[int, BaseException] = {}

    async def read(self, keys: list[str]) -> dict[str, str]:
        self.batches.append(keys)
        number = len(self.batches)
        await self._wait()
        return {key: f"{key}#{number}" for key in keys}

    async def write(self, states: dict[str, bytes | None]) -> dict[str, int]:
        self.batches.append(states)
        number = len(self.batches)
        await self._wait()
        refused = [key for key, state in states.items() if state == b"refused"]
        if refused:
            raise InvalidState(f"{refused[0]} is refused.")
        self.rows |= states
        return dict.fromkeys(states, number)

    async def _wait(self) -> None:
        number = len(self.batches)
        await self.gate.wait()
        if number in self.errors:
            raise self.errors[number]
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def writes(
        self,
        pass_on: PassOn = passed_on,
        *,
        early: Callable[[Written], tuple[Written, Written]] = never,
        tally: Tally | None = None,
        halves: bool = False,
    ) -> Writes:
        return AsyncGatheredWrites(
            self.write, pass_on, self.doubtful.extend, tally or Tally(), early=early, halves=halves
        )


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):  # nothing may hang
            await test()

    asyncio.run(limited())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def outcomes(*calls: Awaitable[Any]) -> Awaitable[list[Any]]:
    return asyncio.gather(*calls, return_exceptions=True)


async def call(function: Callable[..., Awaitable[Any]], *values: Any) -> Any:
    return await function(*values)


# Reads


def test_what_is_asked_for_in_one_turn_is_one_batch() -> None:
    async def test() -> None:
        backend = Backend()
        reads = AsyncGatheredReads(backend.read)
        found = await asyncio.gather(*(call(reads.call, key) for key in "abcab"))
        assert backend.batches == [["a", "b", "c"]]
        assert found == ["a#1", "b#1", "c#1", "a#1", "b#1"]

    run(test)


def test_a_lone_read_does_not_wait_for_others() -> None:
    async def test() -> None:
        backend = Backend()
        reads = AsyncGatheredReads(backend.read)
        for n in range(1, 4):
            assert await reads.call("a") == f"a#{n}"

    run(test)


def test_who_comes_while_a_batch_is_under_way_is_not_answered_by_it() -> None:
    async def test() -> None:
        backend = Backend(held=True)
        reads = AsyncGatheredReads(backend.read)
        first = reads.call("a")
        await turns()
        second = reads.call("a")  # what it is to see may have been written since
        await turns()
        backend.gate.set()
        assert await outcomes(first, second) == ["a#1", "a#2"]

    run(test)


def test_a_read_that_waits_does_not_hold_up_the_next_batch() -> None:
    async def test() -> None:
        backend = Backend(held=True)
        reads = AsyncGatheredReads(backend.read)
        calls = []
        for key in "abcdef":
            calls.append(reads.call(key))
            await turns()
        assert backend.batches == [["a"], ["b"]], "two lanes; the others gather"
        backend.gate.set()
        await asyncio.gather(*calls)
        assert backend.batches[2:] == [["c", "d", "e", "f"]]

    run(test)


def test_a_large_crowd_comes_in_batches_of_limited_size() -> None:
    async def test() -> None:
        backend = Backend()
        reads = AsyncGatheredReads(backend.read)
        keys = [f"key-{n}" for n in range(2 * MAX_KEYS + 7)]
        found = await asyncio.gather(*map(reads.call, keys))
        assert [len(batch) for batch in backend.batches] == [MAX_KEYS, MAX_KEYS, 7]
        assert [outcome.split("#")[0] for outcome in found] == keys

    run(test)


def test_an_error_reaches_everybody_in_the_batch_and_nobody_else() -> None:
    async def test() -> None:
        backend = Backend()
        reads = AsyncGatheredReads(backend.read)
        backend.error = OSError("no route")
        assert all(isinstance(one, OSError) for one in await outcomes(*map(reads.call, "aab")))
        assert await reads.call("a") == "a#2"

    run(test)


def test_cancelled_readers_disturb_nobody() -> None:
    async def test() -> None:
        backend = Backend(held=True)
        reads = AsyncGatheredReads(backend.read)
        tasks = [asyncio.create_task(call(reads.call, key)) for key in "aaab"]
        await turns(1)
        tasks[0].cancel()  # before the batch is taken
        await turns()
        tasks[1].cancel()  # while it is under way
        tasks[3].cancel()  # the only one who wants this key
        await turns()
        backend.gate.set()
        found = await outcomes(*tasks)
        assert found[2] == "a#1"
        assert all(isinstance(found[n], asyncio.CancelledError) for n in (0, 1, 3))
        assert await reads.call("b") == "b#2"

    run(test)


def test_a_cancelled_batch_cancels_its_callers_and_the_next_one_runs() -> None:
    async def test() -> None:
        backend = Backend()
        reads = AsyncGatheredReads(backend.read)
        backend.error = asyncio.CancelledError()
        found = await outcomes(*map(reads.call, "ab"))
        assert all(isinstance(one, asyncio.CancelledError) for one in found)
        assert await reads.call("a") == "a#2"

    run(test)


# Writes


def test_writes_of_one_turn_are_one_batch_and_the_last_of_a_key_wins() -> None:
    async def test() -> None:
        backend, tally = Backend(), Tally()
        writes = backend.writes(tally=tally)
        wanted = [("a", b"1"), ("b", b"1"), ("a", None), ("a", b"3"), ("c", None)]
        assert await asyncio.gather(*(writes.call(*one) for one in wanted)) == [1] * 5
        assert backend.batches == [{"a": b"3", "b": b"1", "c": None}]
        assert tally.snapshot(enabled=False, ttl_secs=0).writes_absorbed == 2

    run(test)


def test_nobody_is_answered_before_the_commit() -> None:
    async def test() -> None:
        backend = Backend(held=True)
        writes = backend.writes()
        futures = [writes.call("a", b"1"), writes.call("a", b"2"), writes.call("b", b"1")]
        await turns()
        assert backend.batches
        assert not any(future.done() for future in futures)
        backend.gate.set()
        assert await asyncio.gather(*futures) == [1, 1, 1]

    run(test)


def test_a_write_joins_no_batch_that_is_under_way() -> None:
    async def test() -> None:
        backend = Backend(held=True)
        writes = backend.writes()
        calls = []
        for encoded in (b"1", None, b"3", b"4"):
            calls.append(writes.call("a", encoded))
            await turns()
        assert backend.batches == [{"a": b"1"}], "one at a time: in order"
        backend.gate.set()
        assert await asyncio.gather(*calls) == [1, 2, 2, 2]
        assert backend.batches == [{"a": b"1"}, {"a": b"4"}]

    run(test)


def test_writers_of_one_key_in_a_row_keep_their_order() -> None:
    async def test() -> None:
        backend = Backend()
        writes = backend.writes()

        async def writer(key: str) -> None:
            for n in range(20):
                await writes.call(key, b"%d" % n)
                assert backend.rows[key] == b"%d" % n

        await asyncio.gather(*(writer(f"key-{n}") for n in range(30)))
        assert len(backend.batches) == 20

    run(test)


def test_a_refused_state_is_its_own_caller_s_error() -> None:
    async def test() -> None:
        backend = Backend()
        writes = backend.writes()
        states = {f"key-{n}": b"refused" if n in (3, 11) else b"%d" % n for n in range(16)}
        found = await outcomes(*(writes.call(key, state) for key, state in states.items()))
        assert [n for n, one in enumerate(found) if isinstance(one, InvalidState)] == [3, 11]
        assert "key-11" in str(found[11])
        accepted = {key: state for key, state in states.items() if state != b"refused"}
        assert backend.rows == accepted

    run(test)


def test_a_refused_state_does_not_take_along_those_it_was_to_outdo() -> None:
    async def test() -> None:
        backend = Backend()
        writes = backend.writes()
        wanted = [b"1", b"2", b"refused", b"refused"]
        found = await outcomes(*(writes.call("a", state) for state in wanted))
        assert [isinstance(one, InvalidState) for one in found] == [False, False, True, True]
        assert backend.rows == {"a": b"2"}
        found = await outcomes(*(writes.call("a", state) for state in (b"refused", b"4")))
        assert backend.rows == {"a": b"4"}
        found = await outcomes(*(writes.call("a", b"refused") for _ in range(2_000)))
        assert all(isinstance(one, InvalidState) for one in found)

    run(test)


def test_a_batch_cancelled_while_it_looks_for_a_refused_state_answers_everybody() -> None:
    async def test() -> None:
        backend = Backend()
        writes = backend.writes()
        states = {"a": b"1", "b": b"refused", "c": b"1", "d": b"1"}
        calls = [writes.call(key, state) for key, state in states.items()]
        backend.errors[2] = asyncio.CancelledError()  # at the first half
        found = await outcomes(*calls)
        assert all(isinstance(one, asyncio.CancelledError) for one in found)
        assert backend.doubtful == list(states), "one of them may be committed"
        assert await writes.call("a", b"2")

    run(test)


def test_another_error_reaches_all_of_the_batch() -> None:
    async def test() -> None:
        backend = Backend()
        writes = backend.writes()
        backend.error = OSError("no route")
        found = await outcomes(*(writes.call(key, b"1") for key in "aab"))
        assert all(isinstance(one, OSError) for one in found)
        assert await writes.call("a", b"2") == 2

    run(test)


def test_cancelled_writers_disturb_nobody_and_their_writes_keep_their_place() -> None:
    async def test() -> None:
        backend = Backend(held=True)
        writes = backend.writes()
        tasks = [
            asyncio.create_task(call(writes.call, *one))
            for one in (("a", b"1"), ("a", b"2"), ("b", b"1"), ("c", b"1"))
        ]
        await turns(1)
        tasks[0].cancel()
        await turns()
        tasks[2].cancel()
        await turns()
        backend.gate.set()
        found = await outcomes(*tasks)
        assert [isinstance(one, asyncio.CancelledError) for one in found] == [True, False] * 2
        assert backend.rows == {"a": b"2", "b": b"1", "c": b"1"}
        assert await writes.call("b", b"2") == 2

    run(test)


def test_batches_of_writes_are_limited_in_keys_and_in_bytes() -> None:
    async def test() -> None:
        backend = Backend()
        writes = backend.writes()
        await asyncio.gather(*(writes.call(f"key-{n}", b"1") for n in range(MAX_KEYS + 1)))
        assert [len(batch) for batch in backend.batches] == [MAX_KEYS, 1]
        backend.batches.clear()
        half = b"x" * (MAX_BYTES // 2)
        await asyncio.gather(*(writes.call(key, half) for key in "abcdefg"))
        assert max(len(batch) for batch in backend.batches) <= 3
        assert [key for batch in backend.batches for key in batch] == list("abcdefg")

    run(test)


def test_readers_and_writers_in_a_crowd_with_trouble_are_all_answered() -> None:
    async def test() -> None:
        backend = Backend()
        reads, writes = AsyncGatheredReads(backend.read), backend.writes()

        async def one(n: int) -> None:
            for step in range(20):
                if (n + step) % 7 == 0:
                    backend.error = OSError("no route")
                task: asyncio.Task[Any]
                if n % 2:
                    task = asyncio.create_task(call(reads.call, f"key-{n % 5}"))
                else:
                    state = b"refused" if step % 5 == 0 else b"%d" % step
                    task = asyncio.create_task(call(writes.call, f"key-{n % 5}", state))
                if (n + step) % 11 == 0:
                    await turns(1)
                    task.cancel()
                await asyncio.wait([task])

        await asyncio.gather(*(one(n) for n in range(40)))
        assert await outcomes(reads.call("a"), writes.call("b", b"1"))

    run(test)


def test_threads_cannot_gather() -> None:
    with pytest.raises(ConfigError, match="STATE_CACHE_GATHER"):
        GatheredReads(None, None, Tally())


def test_the_next_batch_is_committed_while_one_is_passed_on() -> None:
    async def test() -> None:
        backend, gate = Backend(), asyncio.Event()

        async def pass_on(written: dict[str, int]) -> dict[str, int]:
            await gate.wait()
            return written

        writes = backend.writes(pass_on)
        first = writes.call("a", b"1")
        await turns()
        second = writes.call("a", b"2")
        await turns()
        assert backend.batches == [{"a": b"1"}, {"a": b"2"}]
        assert not first.done()
        assert not second.done()
        gate.set()
        assert await asyncio.gather(first, second) == [1, 2]

    run(test)


def test_with_halves_a_batch_leaves_half_of_many_to_the_next() -> None:
    async def test() -> None:
        backend = Backend()
        writes = backend.writes(halves=True)
        await asyncio.gather(*(writes.call(str(n), b"1") for n in range(100)))
        assert [len(batch) for batch in backend.batches] == [50, 50]

    run(test)


def test_fewer_are_halved_only_where_nobody_else_is_served() -> None:
    async def test() -> None:
        backend = Backend()
        gates: list[asyncio.Event] = []

        async def pass_on(written: dict[str, int]) -> dict[str, int]:
            gates.append(asyncio.Event())
            await gates[-1].wait()
            return written

        writes = backend.writes(pass_on, halves=True)
        for first in (0, WORTH_A_BATCH):  # the second time both halves are still passed on
            for n in range(WORTH_A_BATCH):
                writes.call(str(first + n), b"1")
            await turns(20)
        half = WORTH_A_BATCH // 2
        assert [len(batch) for batch in backend.batches] == [half, half, WORTH_A_BATCH]
        for gate in gates:
            gate.set()

    run(test)


def test_many_writes_to_other_keys_are_committed_beside_a_batch_under_way() -> None:
    async def test() -> None:
        backend = Backend(held=True)
        writes = backend.writes()
        calls = [writes.call("a", b"1")]
        await turns()
        calls.append(writes.call("a", b"2"))  # waits for the one that is being committed
        calls += [writes.call(str(n), b"1") for n in range(WORTH_A_BATCH - 1)]
        await turns()
        assert backend.batches == [{"a": b"1"}]
        calls.append(writes.call("enough", b"1"))
        await turns()
        assert [len(batch) for batch in backend.batches] == [1, WORTH_A_BATCH]
        assert "a" not in backend.batches[1]
        backend.gate.set()
        await asyncio.gather(*calls)
        assert backend.batches[2:] == [{"a": b"2"}]
        assert backend.rows["a"] == b"2"

    run(test)


def test_what_is_committed_is_passed_on_though_another_part_fails() -> None:
    async def test() -> None:
        backend, told = Backend(), []

        async def pass_on(written: dict[str, int]) -> dict[str, int]:
            told.extend(written)
            return written

        writes = backend.writes(pass_on)
        # The whole is refused, then its first half committed, then the second half fails.
        backend.errors = {3: ConnectionError("gone")}
        calls = [writes.call(key, b"1") for key in "ab"] + [writes.call("c", b"refused")]
        calls.append(writes.call("d", b"1"))
        results = await outcomes(*calls)
        committed = [
            key for key, result in zip("abcd", results, strict=True) if isinstance(result, int)
        ]
        assert committed
        assert sorted(told) == committed
        assert any(isinstance(result, ConnectionError) for result in results)

    run(test)


def test_one_event_loop_may_follow_another() -> None:
    backend = Backend()
    reads: AsyncGatheredReads[str] = AsyncGatheredReads(backend.read)
    writes = backend.writes()

    async def test() -> None:
        assert await reads.call("a") == f"a#{len(backend.batches)}"
        assert await writes.call("a", b"1") == len(backend.batches)

    run(test)
    run(test)


@pytest.mark.parametrize("reads", [True, False])
def test_batches_that_were_cancelled_before_they_began_leave_nothing_behind(reads: bool) -> None:
    backend = Backend()
    gathered: AsyncGatheredReads[str] = AsyncGatheredReads(backend.read)
    call: Callable[[], asyncio.Future[Any]] = partial(gathered.call, "a")
    if not reads:
        call = partial(backend.writes().call, "a", b"1")

    async def test() -> None:
        this = asyncio.current_task()

        def cancel_others() -> None:
            for task in asyncio.all_tasks():
                if task is not this:
                    task.cancel()

        for _ in range(5):  # more than there are lanes
            call()
            caller = call()
            asyncio.get_running_loop().call_soon(cancel_others)  # right after the batch is made
            await asyncio.wait([caller])
            assert caller.cancelled()
        assert backend.batches == []
        await call()
        assert len(backend.batches) == 1

    run(test)


def test_a_loop_that_ended_with_a_batch_under_way_does_not_hold_up_the_next() -> None:
    backend = Backend(held=True)
    writes = backend.writes()

    async def leave_waiting() -> None:
        writes.call("a", b"1")
        await turns()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_waiting())
    loop.close()
    left, backend.gate = backend.gate, asyncio.Event()
    backend.gate.set()

    async def test() -> None:
        assert await writes.call("a", b"2") == 2

    run(test)
    del left  # on which the batch of the other loop waits


def test_a_batch_of_an_ended_loop_gives_nothing_back_to_the_next_loop() -> None:
    backend = Backend(held=True)
    writes = backend.writes()

    async def leave_waiting() -> None:
        writes.call("a", b"0")
        await turns()

    gc.disable()
    try:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(leave_waiting())
        loop.close()

        async def test() -> None:
            backend.gate = asyncio.Event()
            others = [writes.call(f"b{n}", b"1") for n in range(WORTH_A_BATCH)]
            first = writes.call("a", b"1")
            await turns()
            gc.collect()  # the batch of the loop that ended
            second = writes.call("a", b"2")
            others += [writes.call(f"c{n}", b"1") for n in range(WORTH_A_BATCH)]
            await turns()
            under_way = [batch["a"] for batch in backend.batches[1:] if "a" in batch]
            assert under_way == [b"1"], "writes of a key keep their order"
            backend.gate.set()
            await asyncio.gather(first, second, *others)
            assert backend.rows["a"] == b"2"

        run(test)
    finally:
        gc.enable()


def test_an_outcome_that_is_an_error_is_that_of_its_key() -> None:
    async def test() -> None:
        async def read_many(keys: list[str]) -> dict[str, str | Exception]:
            return {key: ValueError(key) if key == "b" else key for key in keys}

        reads: AsyncGatheredReads[str] = AsyncGatheredReads(read_many)
        one, other = await outcomes(reads.call("a"), reads.call("b"))
        assert one == "a"
        assert isinstance(other, ValueError)

    run(test)


EAGER = getattr(asyncio, "eager_task_factory", None)  # Python 3.12 has it


@pytest.mark.parametrize("factory", [None, *filter(None, [EAGER])])
def test_calls_are_gathered_whatever_makes_tasks(factory: Any) -> None:
    async def test() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        backend = Backend()
        reads: AsyncGatheredReads[str] = AsyncGatheredReads(backend.read)
        writes = backend.writes()
        for number in range(1, 6):  # more than there are lanes
            assert await writes.call("a", b"1") == 2 * number - 1
            assert await reads.call("a") == f"a#{2 * number}"
        backend.error = ConnectionError("gone")
        (error,) = await outcomes(writes.call("a", b"1"))
        assert isinstance(error, ConnectionError)
        assert await writes.call("a", b"1") == 12

    run(test)


def test_callers_may_be_answered_once_passing_on_has_begun() -> None:
    async def test() -> None:
        backend, gate, sent = Backend(), asyncio.Event(), []

        async def pass_on(written: dict[str, int]) -> dict[str, int]:
            sent.append(dict(written))
            await gate.wait()
            return written

        writes = backend.writes(pass_on, early=always)
        assert await writes.call("a", b"1") == 1
        assert sent == [{"a": 1}], "it is on its way"
        assert writes.is_passed_on("a")
        assert not writes.is_passed_on("b")
        assert await writes.call("a", b"2") == 2
        gate.set()
        await writes.settle()
        assert not writes.is_passed_on("a")
        assert backend.doubtful == []

    run(test)


@pytest.mark.parametrize("ends", ["cancelled", "another loop"])
def test_what_was_answered_and_not_passed_on_is_in_doubt(ends: str) -> None:
    backend = Backend()

    async def pass_on(written: dict[str, int]) -> dict[str, int]:
        await asyncio.Event().wait()
        return written

    writes = backend.writes(pass_on, early=always)

    async def write() -> None:
        assert await writes.call("a", b"1")

    if ends == "cancelled":
        asyncio.run(write())
    else:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(write())
        loop.close()
        asyncio.run(write())
    assert "a" in backend.doubtful


def test_a_coroutine_that_has_begun_is_like_one_that_is_awaited_as_a_whole() -> None:
    async def test() -> None:
        gates = [asyncio.Event() for _ in range(3)]
        passed: list[Any] = []

        async def work(count: int, error: Exception | None = None) -> int:
            try:
                for gate in gates[:count]:
                    await gate.wait()
                    passed.append(gate)
            except asyncio.CancelledError:
                passed.append("cancelled")
                raise
            if error is not None:
                raise error
            return count

        assert Begun(work(0)).is_over
        assert await Begun(work(0)) == 0
        with pytest.raises(OSError, match="at once"):
            Begun(work(0, OSError("at once")))
        cut = Begun(work(1))
        task = asyncio.ensure_future(call(lambda: cut))
        await turns()
        task.cancel()
        await asyncio.wait([task])
        assert passed == ["cancelled"]
        passed.clear()
        whole, broken = Begun(work(3)), Begun(work(2, OSError("later")))
        assert not whole.is_over
        asyncio.get_running_loop().call_soon(lambda: [gate.set() for gate in gates])
        assert await whole == 3
        with pytest.raises(OSError, match="later"):
            await broken
        assert len(passed) == 5

    run(test)

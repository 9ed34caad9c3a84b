from __future__ import annotations

import asyncio

import pytest

from statecache.study.harness.timing import cycle, interleave, timed, timed_async


def run(pairs: int, seed: int = 1) -> tuple[list[str], dict[str, list[int]], list[float]]:
    """Interleave three variants that return how many rounds were run before; return the order."""
    order: list[str] = []
    shares: list[float] = []

    def round_of(name: str):
        async def one() -> int:
            order.append(name)
            return len(order)

        return one

    rounds = {name: round_of(name) for name in "abc"}
    measured = asyncio.run(interleave(rounds, pairs=pairs, seed=seed, on_turn=shares.append))
    return order, measured, shares


def test_every_turn_runs_every_variant_once_and_the_first_is_thrown_away() -> None:
    order, measured, _shares = run(pairs=5)
    turns = [order[start : start + 3] for start in range(0, len(order), 3)]
    assert len(turns) == 6
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert {name: len(values) for name, values in measured.items()} == {"a": 5, "b": 5, "c": 5}
    assert min(min(values) for values in measured.values()) == 4, "the warm-up is not measured"


def test_measurements_at_the_same_place_belong_to_the_same_turn() -> None:
    _order, measured, _shares = run(pairs=7)
    for turn in zip(*measured.values(), strict=True):
        assert max(turn) - min(turn) == 2


def test_the_order_varies_between_turns_and_is_the_same_for_the_same_seed() -> None:
    order, _measured, _shares = run(pairs=20)
    turns = {tuple(order[start : start + 3]) for start in range(0, len(order), 3)}
    assert len(turns) > 3
    assert run(pairs=20)[0] == order
    assert run(pairs=20, seed=2)[0] != order


def test_progress_ends_at_one() -> None:
    shares = run(pairs=3)[2]
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_synchronous_rounds_can_be_cancelled() -> None:
    ran = 0

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None

        async def one() -> float:
            nonlocal ran
            ran += 1
            task.cancel()  # what Ctrl-C does
            return 1.0

        await interleave({"a": one, "b": one}, pairs=50, seed=1)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert ran == 1


@pytest.mark.parametrize("callers", [1, 3, 10])
def test_concurrent_callers_make_every_call_once(callers: int) -> None:
    made: list[str] = []
    running = most = 0

    async def call(trigger_id: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        made.append(trigger_id)

    ids = [str(number) for number in range(10)]
    seconds = asyncio.run(timed_async(call, ids, callers)())
    assert sorted(made) == sorted(ids)
    assert most == callers
    assert seconds > 0


def test_a_timed_round_makes_every_call_in_order() -> None:
    made: list[str] = []
    asyncio.run(timed(made.append, ["a", "b", "a"])())
    assert made == ["a", "b", "a"]


def test_ids_go_round() -> None:
    assert cycle(["a", "b", "c"], 7) == ["a", "b", "c", "a", "b", "c", "a"]

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from statecache.study.harness.tasks import tasks_together


class Trouble(Exception):  # noqa: N818
    pass


async def fail() -> None:
    await asyncio.sleep(0)
    raise Trouble


async def wait_for_ever(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("cancelled")


def history(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__context__


def test_the_first_error_is_raised_without_a_group_and_the_others_are_cancelled() -> None:
    ended: list[str] = []

    async def run(body_waits: bool) -> None:
        async with tasks_together() as tasks:
            tasks.create_task(wait_for_ever(ended))
            tasks.create_task(fail())
            if body_waits:
                await asyncio.Event().wait()

    for body_waits in (False, True):
        with pytest.raises(Trouble) as caught:
            asyncio.run(run(body_waits))
        assert not any(isinstance(one, BaseExceptionGroup) for one in history(caught.value))
    assert ended == ["cancelled"] * 2


def test_who_is_cancelled_from_outside_is_cancelled() -> None:
    ended: list[str] = []

    async def group() -> None:
        async with tasks_together() as tasks:
            tasks.create_task(wait_for_ever(ended))

    async def run() -> None:
        task = asyncio.create_task(group())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert ended == ["cancelled"]

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest

from statecache.study.harness.aside import run_aside


def test_it_returns_what_the_coroutine_returns_beside_a_running_loop() -> None:
    async def main() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    async def notebook() -> str:
        return run_aside(main)

    assert asyncio.run(notebook()) == "statecache-aside"


def test_it_raises_what_the_coroutine_raises() -> None:
    async def main() -> None:
        raise ValueError("no such cell")

    with pytest.raises(ValueError, match="no such cell"):
        run_aside(main)


def test_ctrl_c_ends_the_coroutine_first() -> None:
    began, cleaned = threading.Event(), threading.Event()

    async def main() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    def interrupt() -> None:
        began.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_aside(main)
    assert cleaned.is_set()
    assert time.monotonic() - started < 50, "it did not wait for the sleep"

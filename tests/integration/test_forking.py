"""Managers in forked children: they and their parent disturb each other in nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.scratch import Scratch

_SYNC = """
import os, sys, threading
from statecache import CachedStateManager

def work(name, rounds):
    for n in range(rounds):
        manager.update_state(name, {"n": n})
        assert manager.load_state(name) == {"n": n}

manager = CachedStateManager.from_env()
work("parent", 5)
threads = [threading.Thread(target=work, args=(f"thread-{n}", 200)) for n in range(3)]
for thread in threads:
    thread.start()
children = []
for n in range(4):  # while the threads are busy
    pid = os.fork()
    if pid == 0:
        try:
            work(f"child-{n}", 30)
            manager.close()
            os._exit(0)
        except BaseException as error:
            print("child", repr(error), flush=True)
            os._exit(1)
    children.append(pid)
failed = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
for thread in threads:
    thread.join()
work("parent", 5)
print(failed, manager.get_state_count(), manager.get_cache_stats().errors)
manager.close()
"""

_ASYNC = """
import asyncio, os, sys
from statecache import AsyncCachedStateManager

async def work(name, rounds):
    for n in range(rounds):
        await manager.update_state(name, {"n": n})
        assert await manager.load_state(name) == {"n": n}

async def child(n):
    await work(f"child-{n}", 30)
    await manager.aclose()

manager = AsyncCachedStateManager.from_env()
with asyncio.Runner() as runner:
    runner.run(work("parent", 5))
    children = []
    for n in range(4):  # its connections are open
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(child(n))
                os._exit(0)
            except BaseException as error:
                print("child", repr(error), flush=True)
                os._exit(1)
        children.append(pid)
    runner.run(work("parent", 50))
    failed = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    runner.run(work("parent", 5))
    count = runner.run(manager.get_state_count())
    print(failed, count + 3, manager.get_cache_stats().errors)
    runner.run(manager.aclose())
"""


_EPOCHS = """
import os
import redis
from statecache import CachedStateManager

client = redis.Redis.from_url(os.environ["REDIS_URL"])
key = os.environ["STATE_CACHE_KEY_PREFIX"] + "\\0epoch"
manager = CachedStateManager.from_env()

def next_epoch():
    client.delete(key)  # as if the cache had been emptied
    manager.update_state("trigger", {"n": 1})
    print(client.get(key).decode(), flush=True)

next_epoch()
pid = os.fork()
if pid == 0:
    next_epoch()
    os._exit(0)
os.waitpid(pid, 0)
next_epoch()
next_epoch()
manager.close()
"""


@pytest.mark.parametrize("script", [_SYNC, _ASYNC], ids=["sync", "async"])
def test_a_manager_of_the_environment_survives_a_fork(
    scratch: Scratch, script: str, tmp_path: Path
) -> None:
    # 4 children, 3 threads (the asynchronous script has none), and the parent
    assert output_of(script, scratch, tmp_path) == "[0, 0, 0, 0] 8 0\n"


def test_no_epoch_comes_twice_not_in_a_forked_child_either(
    scratch: Scratch, tmp_path: Path
) -> None:
    epochs = output_of(_EPOCHS, scratch, tmp_path).split()
    assert len(set(epochs)) == 4


def output_of(script: str, scratch: Scratch, folder: Path) -> str:
    """Run a script in an interpreter of its own that must not complain; return what it prints."""
    file = folder / "script.py"
    file.write_text(script)
    done = subprocess.run(
        # Python 3.12 warns of a fork beside threads, which is what is tested.
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", str(file)],
        env={
            "PYTHONPATH": ":".join(sys.path),
            "DATABASE_URL": scratch.database_url,
            "REDIS_URL": scratch.redis_url,
            "STATE_CACHE_SCHEMA": scratch.schema,
            "STATE_CACHE_KEY_PREFIX": scratch.prefix,
            "STATE_CACHE_TIMEOUT_MS": "5000",
            "STATE_CACHE_MEMORY_ITEMS": "100",
            "STATE_CACHE_MAX_DB_READS": "4",
        },
        capture_output=True,
        check=False,
        text=True,
        timeout=100,
    )
    assert done.stderr == ""
    return done.stdout

from __future__ import annotations

import threading

from support.interrupts import eventually

from statecache._acompat import Background


def test_a_start_in_its_last_moments_is_not_lost() -> None:
    """As when a key is added right after the function has seen that nothing is left."""
    runs: list[int] = []

    def run() -> None:
        runs.append(1)
        if len(runs) == 1:
            background.start()

    background = Background("test", run)
    background.start()
    eventually(lambda: len(runs) == 2)
    background.close()


def test_one_thread_at_a_time_and_a_new_one_after_it_has_ended() -> None:
    threads: set[int] = set()
    ended = threading.Event()

    def run() -> None:
        threads.add(threading.get_ident())
        ended.wait(10)

    background = Background("test", run)
    for _ in range(5):
        background.start()
    eventually(lambda: threads)
    before = {thread for thread in threading.enumerate() if thread.name == "test"}
    assert len(before) == 1
    ended.set()
    eventually(lambda: not any(thread.is_alive() for thread in before))
    threads.clear()
    background.start()
    eventually(lambda: threads)
    background.close()


def test_an_error_does_not_keep_it_from_starting_again() -> None:
    runs: list[int] = []
    hook, threading.excepthook = threading.excepthook, lambda _args: None
    try:

        def run() -> None:
            runs.append(1)
            raise OSError("no route")

        background = Background("test", run)
        background.start()
        eventually(lambda: runs and not any(one.name == "test" for one in threading.enumerate()))
        background.start()
        eventually(lambda: len(runs) == 2)
        background.close()
    finally:
        threading.excepthook = hook


def test_closed_it_does_not_start() -> None:
    runs: list[int] = []
    background = Background("test", lambda: runs.append(1))
    background.close()
    background.start()
    background.close()
    assert runs == []

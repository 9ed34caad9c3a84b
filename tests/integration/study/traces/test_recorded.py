"""What a real server's MONITOR and a manager's recorder show of the same calls."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import redis
from support.managers import CACHED
from support.scratch import Scratch

from statecache import CachedStateManager
from statecache.recorder import AccessRecorder
from statecache.study.traces import DELETE, READ, WRITE, read_recording, read_trace

LAST = "the last command"


def monitored(url: str, ready: threading.Event, lines: list[bytes]) -> None:
    """Collect what MONITOR prints, up to the last command."""
    with redis.Redis.from_url(url) as client, client.monitor() as monitor:
        ready.set()
        while LAST.encode() not in (line := monitor.connection.read_response()):
            lines.append(line)


@pytest.mark.parametrize("kind", CACHED)
def test_monitor_and_recorder_tell_the_same(scratch: Scratch, kind: str, tmp_path: Path) -> None:
    ready, lines = threading.Event(), []
    reader = threading.Thread(target=monitored, args=(scratch.redis_url, ready, lines))
    reader.start()
    assert ready.wait(10)
    recorder = AccessRecorder(tmp_path / "recorded", sample=1.0)
    with scratch.manager(kind, observer=recorder) as manager:
        asked = use(manager)
    recorder.close()
    with redis.Redis.from_url(scratch.redis_url) as client:
        client.echo(LAST)
    reader.join(10)
    assert not reader.is_alive()
    (tmp_path / "monitor.txt").write_bytes(b"OK\n" + b"".join(line + b"\n" for line in lines))

    recording = read_recording(tmp_path / "monitor.txt")
    trace = recording.trace
    assert (recording.format, recording.malformed) == ("monitor", 0)
    # other tests' keys are on the same server where it is given
    seen = [
        (name.removeprefix(scratch.prefix), op)
        for name, op in zip(trace.keys[trace.key], trace.op.tolist(), strict=True)
        if name.startswith(scratch.prefix)
    ]
    assert seen == asked
    recorded = read_trace(tmp_path / "recorded", strict=True)
    assert recorded.op.tolist() == [op for _, op in asked]
    assert len(recorded.keys) == len({key for key, _ in asked})


def use(manager: CachedStateManager) -> list[tuple[str, int]]:
    """Use a manager; return what it was asked for."""
    manager.load_state("a")
    manager.update_state("a", {"é": 'line\n"quoted"'})
    manager.load_state("a")
    manager.load_states(["a", "b", "ü"])
    manager.update_states({"b": 1, "ü": [2]})
    manager.delete_state("b")
    manager.load_state("b")
    return [
        ("a", READ), ("a", WRITE), ("a", READ), ("a", READ), ("b", READ), ("ü", READ),
        ("b", WRITE), ("ü", WRITE), ("b", DELETE), ("b", READ),
    ]  # fmt: skip

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from statecache import Access, ConfigError
from statecache.recorder import AccessRecorder
from statecache.study.replay import hit_curve
from statecache.study.traces import DELETE, READ, WRITE, read_trace


def access(
    trigger_id: str = "t", operation: str = "load", outcome: str = "hit", size: int = 10
) -> Access:
    now = time.monotonic()
    return Access(operation, trigger_id, outcome, now, now, None, size)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def rows(folder: Path) -> pd.DataFrame:
    return pd.concat([pq.read_table(path).to_pandas() for path in files(folder)])


def wait_until(true: Callable[[], object]) -> None:
    """Wait for what another thread does; the test's own time limit is the only one."""
    while not true():
        time.sleep(0.005)


def test_everything_comes_back_with_its_type(tmp_path: Path) -> None:
    before = time.time()
    recorder = AccessRecorder(tmp_path, sample=1.0)
    recorder(access("a", "load", "absent", 0))
    recorder(access("b", "update", "committed", 70_000))
    recorder(access("a", "delete", "unrepaired", 0))
    recorder.close()
    after = time.time()

    table = pq.read_table(files(tmp_path)[0])
    assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
        "time_s": "double",
        "key": "uint64",
        "op": "dictionary<values=string, indices=int8, ordered=0>",
        "size": "int32",
        "outcome": "dictionary<values=string, indices=int8, ordered=0>",
    }
    found = table.to_pandas()
    assert found["op"].tolist() == ["read", "write", "delete"]
    assert found["outcome"].tolist() == ["absent", "committed", "unrepaired"]
    assert found["size"].tolist() == [0, 70_000, 0]
    assert before - 0.01 <= found["time_s"].min() <= found["time_s"].max() <= after + 0.01
    hashed = [int.from_bytes(hashlib.blake2b(i, digest_size=8).digest()) for i in (b"a", b"b")]
    assert found["key"].tolist() == [hashed[0], hashed[1], hashed[0]]
    assert (recorder.recorded, recorder.dropped) == (3, 0)


def test_a_trace_is_read_from_the_folder(tmp_path: Path) -> None:
    for name, operation in (("a", "load"), ("ü", "update"), ("a", "delete")):
        recorder = AccessRecorder(tmp_path, sample=1.0)
        recorder(access(name, operation))
        recorder.close()
    trace = read_trace(tmp_path)
    assert len(files(tmp_path)) == 3
    assert trace.op.tolist() == [READ, WRITE, DELETE], "in order of time, over all files"
    assert trace.key[0] == trace.key[2] != trace.key[1]
    assert trace.size is not None
    assert trace.size.tolist() == [10, 10, 10]


def test_keys_are_sampled_whole_and_evenly(tmp_path: Path) -> None:
    recorder = AccessRecorder(tmp_path, sample=0.1)
    for _ in range(3):
        for n in range(10_000):
            recorder(access(f"trigger_{n}"))
    recorder.close()
    assert recorder.recorded == 3 * sum(recorder.wants(f"trigger_{n}") for n in range(10_000))
    counts = rows(tmp_path)["key"].value_counts()
    assert set(counts) == {3}, "all accesses of a key, or none"
    assert 850 < len(counts) < 1_150


def test_replay_of_a_sample_is_exact_for_each_key(tmp_path: Path) -> None:
    full, part = tmp_path / "full", tmp_path / "part"
    chance = np.random.default_rng(1)
    recorders = AccessRecorder(full, sample=1.0), AccessRecorder(part, sample=0.2)
    for at, n in enumerate(chance.zipf(1.3, 20_000) % 500):
        seen = access(f"trigger_{n}")._replace(started=float(at))
        for recorder in recorders:
            recorder(seen)
    for recorder in recorders:
        recorder.close()

    sampled = set(rows(part)["key"])
    of_sampled = rows(full)[lambda frame: frame["key"].isin(sampled)]
    assert 0 < len(of_sampled) < 20_000
    of_sampled.to_parquet(tmp_path / "expected.parquet")
    ttls = [10.0, 100.0, 1_000.0]
    found = hit_curve(read_trace(part), ttls)["hits"].tolist()
    assert found == hit_curve(read_trace(tmp_path / "expected.parquet"), ttls)["hits"].tolist()


def test_a_salt_hides_the_ids_from_who_does_not_know_it(tmp_path: Path) -> None:
    keys = []
    for salt in (b"", b"secret", b"other"):
        recorder = AccessRecorder(tmp_path / salt.hex(), sample=1.0, salt=salt)
        recorder(access("t"))
        recorder.close()
        keys.append(pq.read_table(files(tmp_path / salt.hex())[0])["key"][0].as_py())
    assert len(set(keys)) == 3
    assert keys[1] == int.from_bytes(hashlib.blake2b(b"secrett", digest_size=8).digest())


def test_what_is_no_read_or_write_of_one_state_is_left_out(tmp_path: Path) -> None:
    recorder = AccessRecorder(tmp_path, sample=1.0)
    recorder(access(operation="invalidate"))
    recorder.close()
    assert files(tmp_path) == []
    assert recorder.dropped == 0


# Files


def test_files_are_written_as_time_passes(tmp_path: Path) -> None:
    recorder = AccessRecorder(tmp_path, sample=1.0, flush_secs=0.01)
    recorder(access())
    wait_until(lambda: recorder.recorded == 1)
    assert len(files(tmp_path)) == 1
    recorder(access())
    wait_until(lambda: recorder.recorded == 2)
    recorder.close()
    assert len(rows(tmp_path)) == 2


def test_files_are_written_before_too_much_is_held(tmp_path: Path) -> None:
    recorder = AccessRecorder(tmp_path, sample=1.0, max_rows=100, flush_secs=3600)
    for _ in range(52):
        recorder(access())
    wait_until(lambda: recorder.recorded)
    recorder.close()
    assert (recorder.recorded, recorder.dropped) == (52, 0)


def test_rows_are_dropped_and_counted_while_the_writer_does_not_keep_up(tmp_path: Path) -> None:
    began, goes_on = threading.Event(), threading.Event()

    class OnSlowDisk(AccessRecorder):
        def _write(self, rows: Any) -> bool:
            began.set()
            goes_on.wait()
            return super()._write(rows)

    recorder = OnSlowDisk(tmp_path, sample=1.0, max_rows=100, flush_secs=3600)
    for _ in range(60):
        recorder(access())
    began.wait()
    for _ in range(940):
        recorder(access())
    assert recorder.dropped == 900, "also what is being written is held"
    goes_on.set()
    recorder.close()
    assert (recorder.recorded, recorder.dropped) == (100, 900)
    assert len(rows(tmp_path)) == 100


def test_a_folder_that_goes_away_costs_rows_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "records"
    recorder = AccessRecorder(folder, sample=1.0, flush_secs=0.01)
    folder.rmdir()
    folder.write_text("a file where the folder was")
    for count in (1, 2):
        recorder(access())
        wait_until(lambda count=count: recorder.dropped == count)  # type: ignore[misc]
    folder.unlink()
    folder.mkdir()
    recorder(access())
    recorder.close()
    assert (recorder.recorded, recorder.dropped) == (1, 2)
    assert len(caplog.records) == 1, "once for each episode"
    assert "cannot be recorded" in caplog.text


def test_a_full_disk_costs_rows_and_no_more(tmp_path: Path) -> None:
    script = """
        import resource, sys
        from statecache.access import Access
        from statecache.recorder import AccessRecorder
        recorder = AccessRecorder(sys.argv[1], sample=1.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
        for n in range(5_000):
            recorder(Access("load", str(n), "hit", n, n, None, 1))
        recorder.close()
        print(recorder.recorded, recorder.dropped)
    """
    assert run(script, tmp_path).split() == ["0", "5000"]
    assert list(tmp_path.iterdir()) == [], "no torn file stays behind"


def test_a_crash_leaves_whole_files_only(tmp_path: Path) -> None:
    script = """
        import os, sys
        import pyarrow.parquet
        from statecache.access import Access
        from statecache.recorder import AccessRecorder

        def crash_amid_the_third(table, file, **options):
            if recorder.recorded < 400:
                return write_table(table, file, **options)
            file.write(b"PAR1 and no more")
            file.flush()
            os.kill(os.getpid(), 9)

        write_table, pyarrow.parquet.write_table = pyarrow.parquet.write_table, crash_amid_the_third
        for n in range(3):
            recorder = recorder if n else AccessRecorder(sys.argv[1], 1.0, max_rows=400)
            for _ in range(200):
                recorder(Access("load", "t", "hit", 1.0, 1.0, None, 1))
            while recorder.recorded < 200 * (n + 1):
                recorder._wake.set()
    """
    with pytest.raises(subprocess.CalledProcessError):
        run(script, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    assert len(files(tmp_path)) == 2
    assert len(read_trace(tmp_path)) == 400


# Processes and threads


def run(script: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=100,
    )
    return done.stdout


def test_a_program_that_ends_without_closing_loses_nothing(tmp_path: Path) -> None:
    script = """
        import sys
        from statecache.access import Access
        from statecache.recorder import AccessRecorder
        recorder = AccessRecorder(sys.argv[1], sample=1.0)
        recorder(Access("load", "t", "hit", 1.0, 1.0, None, 1))
    """
    run(script, tmp_path)
    assert len(rows(tmp_path)) == 1


def test_every_process_samples_the_same_keys(tmp_path: Path) -> None:
    script = """
        import sys
        from statecache.access import Access
        from statecache.recorder import AccessRecorder
        recorder = AccessRecorder(sys.argv[1], sample=0.05)
        for n in range(1_000):
            recorder(Access("load", str(n), "hit", n, n, None, 1))
        recorder.close()
    """
    run(script, tmp_path)
    run(script, tmp_path)
    assert len(files(tmp_path)) == 2
    assert set(rows(tmp_path)["key"].value_counts()) == {2}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_records_its_own_rows_only(tmp_path: Path) -> None:
    recorder = AccessRecorder(tmp_path, sample=1.0)
    recorder(access("of the parent"))
    with recorder._lock:  # held by another thread at the moment of the fork, say
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # rather than hang without end
            recorder(access("of the child"))
            recorder.close()
            os._exit(recorder.recorded)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    recorder.close()
    assert len(files(tmp_path)) == 2
    assert rows(tmp_path)["key"].nunique() == 2
    assert len(rows(tmp_path)) == 2


def test_threads_lose_nothing(tmp_path: Path) -> None:
    recorder = AccessRecorder(tmp_path, sample=1.0, flush_secs=0.001)

    def record() -> None:
        for _ in range(2_000):
            recorder(access())

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close()
    assert recorder.recorded + recorder.dropped == 16_000
    assert len(rows(tmp_path)) == recorder.recorded


def test_closing_twice_is_harmless_and_later_rows_are_dropped(tmp_path: Path) -> None:
    recorder = AccessRecorder(tmp_path, sample=1.0)
    recorder(access())
    recorder.close()
    recorder.close()
    recorder(access())
    assert (recorder.recorded, recorder.dropped) == (1, 1)


def test_nothing_sampled_leaves_no_file_and_no_thread(tmp_path: Path) -> None:
    recorder = AccessRecorder(tmp_path, sample=1e-9)
    before = threading.active_count()
    for n in range(1_000):
        recorder(access(str(n)))
    assert threading.active_count() == before
    recorder.close()
    assert files(tmp_path) == []


# Settings


@pytest.mark.parametrize("sample", [0, -1, 1.5, float("nan")])
def test_a_share_of_keys_is_above_0_and_at_most_1(tmp_path: Path, sample: float) -> None:
    with pytest.raises(ConfigError, match="sample is"):
        AccessRecorder(tmp_path, sample)


@pytest.mark.parametrize("options", [{"max_rows": 0}, {"flush_secs": 0}, {"flush_secs": -1.0}])
def test_other_settings_are_checked(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="take at least one row"):
        AccessRecorder(tmp_path, **options)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        AccessRecorder(tmp_path / "file")


def test_without_pyarrow_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    script = """
        import sys
        sys.modules["pyarrow"] = None
        from statecache import ConfigError
        from statecache.recorder import AccessRecorder
        try:
            AccessRecorder(sys.argv[1])
        except ConfigError as error:
            print(error)
    """
    assert run(script, tmp_path) == "recording needs pyarrow: install statecache[record].\n"


def test_importing_the_recorder_does_not_import_pyarrow(tmp_path: Path) -> None:
    script = 'import statecache.recorder, sys; print("pyarrow" in sys.modules)'
    assert run(script, tmp_path) == "False\n"

# ruff: noqa: PT012, SIM117 - what is tested is how a context manager takes an error
from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from statecache.study.servers import Servers, ServersError, describe, running_servers

HOLD = """
import json, os, sys
from statecache.study.servers import running_servers
with running_servers({}) as servers:
    print(json.dumps(servers.environment()), flush=True)
    sys.stdin.read()
"""


def urls(servers: Servers) -> list[str]:
    return [servers.database_url, servers.redis_url]


def passwords(servers: Servers) -> list[str]:
    found = [urlsplit(url).password for url in urls(servers)]
    return [password for password in found if password]


def eventually(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.01)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


@pytest.fixture
def tmpdir_for_servers() -> Iterator[Path]:
    # Not tmp_path, which is closed to the user whom root runs PostgreSQL as.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def holder(folder: Path, script: str = HOLD) -> Iterator[tuple[subprocess.Popen[bytes], Servers]]:
    environ = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
    ) as process:
        try:
            assert process.stdout is not None
            given = json.loads(process.stdout.readline())
            yield process, Servers(given["DATABASE_URL"], given["REDIS_URL"], embedded=True)
        finally:
            process.kill()


def test_two_side_by_side_never_meet_and_leave_nothing(servers, tmpdir_for_servers, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmpdir_for_servers))
    before = psutil.Process().children(recursive=True)
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        others = [running_servers({}) for _ in range(2)]
        both = [servers, *threads.map(stack.enter_context, others)]
        ports = [urlsplit(url).port for one in both for url in urls(one)]
        assert len(set(ports)) == 6
        assert len({password for one in both for password in passwords(one)}) == 6
        for folder in tmpdir_for_servers.iterdir():
            assert folder.stat().st_mode & 0o007 == 0
            assert (folder / "data").stat().st_mode & 0o077 == 0
            assert not (folder / "password").exists()
        started = [p for p in psutil.Process().children(recursive=True) if p not in before]
    assert len(started) > 6
    assert gone(started)
    assert not list(tmpdir_for_servers.iterdir())


def test_an_exception_passes_through_and_leaves_nothing(tmpdir_for_servers, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmpdir_for_servers))
    before = psutil.Process().children(recursive=True)
    started: list[psutil.Process] = []
    with pytest.raises(ZeroDivisionError), running_servers({}):
        started += [p for p in psutil.Process().children(recursive=True) if p not in before]
        raise ZeroDivisionError
    assert started
    assert gone(started)
    assert not list(tmpdir_for_servers.iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_end_of_the_parent_is_the_end_of_the_servers(tmpdir_for_servers, number):
    with holder(tmpdir_for_servers) as (parent, _):
        started = psutil.Process(parent.pid).children(recursive=True)
        assert len(started) > 3
        parent.send_signal(number)
        parent.wait(20)
        eventually(lambda: gone(started) and not list(tmpdir_for_servers.iterdir()))


def test_a_terminals_interrupt_does_not_reach_the_servers(servers):
    # A terminal signals its foreground process group; nothing of ours is in it.
    with holder(Path(tempfile.gettempdir())) as (parent, _):
        for process in psutil.Process(parent.pid).children(recursive=True):
            assert os.getpgid(process.pid) != os.getpgid(parent.pid)
            assert os.getsid(process.pid) != os.getsid(parent.pid)
        (supervisor,) = psutil.Process(parent.pid).children()
        for number in (signal.SIGINT, signal.SIGHUP):
            supervisor.send_signal(number)
        started = psutil.Process(parent.pid).children(recursive=True)
        assert not gone([supervisor])
        supervisor.terminate()
        eventually(lambda: gone(started))


FORK = HOLD.replace(
    "print(", "os.fork() or (os.close(1), sys.stdin.read(), os._exit(0))\n    print("
)


def test_a_forked_child_does_not_hold_the_servers_up(tmpdir_for_servers):
    with holder(tmpdir_for_servers, FORK) as (parent, _):
        children = psutil.Process(parent.pid).children()
        supervisor = next(p for p in children if "_supervisor" in " ".join(p.cmdline()))
        started = [supervisor, *supervisor.children(recursive=True)]
        (fork,) = [p for p in children if p != supervisor]
        parent.kill()
        eventually(lambda: gone(started) and not list(tmpdir_for_servers.iterdir()))
        assert not gone([fork])
        fork.kill()


def works_in(folder, process):
    try:
        return str(folder) in process.cwd()
    except psutil.Error:  # a zombie of another test's
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_killed_supervisor_takes_the_servers_with_it_and_is_reported(
    tmpdir_for_servers, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmpdir_for_servers))
    with pytest.raises(ServersError, match="ended early with status -9") as caught:
        with running_servers({}):
            before = psutil.Process().children()
            supervisor = next(
                p for p in before if any(works_in(tmpdir_for_servers, c) for c in p.children())
            )
            started = supervisor.children(recursive=True)
            supervisor.kill()
            eventually(lambda: gone(started))
    assert str(tmpdir_for_servers) in str(caught.value)


def test_the_passwords_are_required(servers):
    wrong = re.sub(r"(://[^:]*:)[^@]+@", r"\1wrong@", servers.database_url)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    for password in ("wrong", None):
        address = urlsplit(servers.redis_url)
        with (
            redis.Redis(
                port=address.port or 0, password=password, retry=Retry(NoBackoff(), 0)
            ) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()


def test_only_loopback_listens(servers):
    ports = {urlsplit(url).port for url in urls(servers)}
    listening = [
        c
        for c in psutil.net_connections("inet")
        if c.status == psutil.CONN_LISTEN and c.laddr.port in ports
    ]
    assert {c.laddr.port for c in listening} == ports
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}
    with psycopg.connect(servers.database_url) as database:
        assert database.execute("SHOW unix_socket_directories").fetchone() == ("",)


def test_no_command_line_and_no_repr_shows_a_password(servers):
    family = psutil.Process().children(recursive=True)
    lines = [" ".join(p.cmdline()) for p in family if p.status() != psutil.STATUS_ZOMBIE]
    assert any("postgres" in line for line in lines)
    assert any("valkey" in line for line in lines)
    shown = [*lines, repr(servers), str(servers), json.dumps(describe(servers))]
    assert len(passwords(servers)) == 2
    for password in passwords(servers):
        assert not [text for text in shown if password in text]


def test_a_failed_start_says_why_and_leaves_nothing(tmpdir_for_servers):
    script = HOLD.replace("import json", "import resource, json", 1).replace(
        "with ", f"resource.setrlimit({resource.RLIMIT_FSIZE}, (1 << 20, 1 << 20))\nwith ", 1
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"TMPDIR": str(tmpdir_for_servers)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert "ServersError: The embedded servers cannot be started: initdb" in last
    assert "its log ends: The files belonging to this database system" in last
    assert not list(tmpdir_for_servers.iterdir())


@pytest.mark.parametrize(
    ("present", "missing"), [("DATABASE_URL", "REDIS_URL"), ("REDIS_URL", "DATABASE_URL")]
)
def test_one_url_alone_is_refused(present, missing):
    with pytest.raises(ServersError, match=f"^{present} is set but {missing} is not: [^.]*[.]$"):
        with running_servers({present: "x://", missing: ""}):
            pytest.fail("it went on")


def test_urls_are_used_and_nothing_is_started(servers):
    before = psutil.Process().children()
    with running_servers(servers.environment()) as used:
        assert used.environment() == servers.environment()
        assert used.embedded == servers.embedded, "a kernel may pin what its runner started"
        assert psutil.Process().children() == before
        assert describe(used)["postgresql"]["host"] == "loopback"
    with psycopg.connect(servers.database_url) as database:
        database.execute("SELECT 1")


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://u:s3cret@127.0.0.1:1/x"),
        ("DATABASE_URL", "postgresql://u:pa/s3cret@127.0.0.1:1/x"),
        ("DATABASE_URL", "postgresql://u:pa@s3cret@127.0.0.1:1/x"),
        ("DATABASE_URL", "s3cret"),
        ("REDIS_URL", "redis://:s3cret@127.0.0.1:1/0"),
        ("REDIS_URL", "redis://:pa/s3cret@127.0.0.1:1/0"),
        ("REDIS_URL", "redis://:pa#s3cret@127.0.0.1:1/0"),
        ("REDIS_URL", "s3cret"),
        ("REDIS_URL", "redis+cluster://:s3cret@127.0.0.1:1"),
    ],
)
def test_an_unreachable_server_is_named_without_its_password(servers, name, url):
    with (
        pytest.raises(ServersError) as caught,
        running_servers(servers.environment() | {name: url}),
    ):
        pytest.fail("it went on")
    text = str(caught.value)
    assert text.startswith(name)
    assert text.endswith(".")
    assert "s3cret" not in text
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert "s3cret" not in repr(Servers(url, url, embedded=False))


def test_a_wrong_password_is_named_without_it(servers):
    for name, url in zip(("DATABASE_URL", "REDIS_URL"), urls(servers), strict=True):
        wrong = re.sub(r":[^:@]+@", ":s3cret@", url)
        with pytest.raises(ServersError, match=name) as caught:
            with running_servers(servers.environment() | {name: wrong}):
                pytest.fail("it went on")
        assert "s3cret" not in str(caught.value)


def test_the_description_names_what_a_reader_must_know(servers):
    found = describe(servers)
    assert found["embedded"] is True
    assert found["postgresql"]["version"].startswith("18.")
    settings = ("fsync", "synchronous_commit", "jit", "shared_buffers", "max_connections")
    assert [found["postgresql"][s] for s in settings] == ["on", "on", "off", "256MB", "300"]
    assert found["redis"]["name"] == "Valkey"
    assert found["redis"]["version"].startswith("9.1")
    settings = ("maxmemory", "maxmemory-policy", "appendonly", "save")
    assert [found["redis"][s] for s in settings] == ["0", "noeviction", "no", ""]
    assert found["postgresql"]["host"] == found["redis"]["host"] == "loopback"

"""Runs managers in processes of their own under an adversary, and returns their history."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from support.adversary import trouble
from support.cache_server import CacheServer
from support.history import check, check_final
from support.history_types import Call, Commit, Violation
from support.history_worker import WorkerPlan
from support.relay import Relay, relays
from support.scratch import Scratch

__all__ = ["ASYNC", "SYNC", "History", "RunPlan", "database_at", "record"]

SYNC, ASYNC = "CachedStateManager", "AsyncCachedStateManager"

#: A manager's settings, small, so that entries expire and deadlines pass while a run lasts.
CONFIG: Mapping[str, Any] = {
    "ttl_secs": 0.6,
    "fill_deadline_ms": 200,
    "tombstone_secs": 0.4,
    "timeout_ms": 60,
    "breaker_max_wait_ms": 100,
}


#: On top of what the settings say, for what a busy machine takes from a commit to its put.
SLACK_S = 0.5

#: How long a manager trusts its own memory without hearing from the cache.
TRUST_S = 1.0


@dataclass(frozen=True)
class RunPlan:
    """A run: the seed says what is called and what befalls it, the machine when exactly."""

    seed: int
    seconds: float = 2.5
    #: The kinds of the managers, one process each.
    kinds: tuple[str, ...] = (SYNC, SYNC, SYNC, ASYNC)
    keys: int = 3
    #: What is troubled: the cache server, the ways to it, those to PostgreSQL, the processes.
    troubled: tuple[str, ...] = ("server", "cache", "database", "workers")
    #: Changes of ``CONFIG``.
    config: Mapping[str, Any] = field(default_factory=dict)
    #: Changes of the workers' plans.
    worker: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", {**CONFIG, **self.config})

    @property
    def settled_s(self) -> float:
        """How long after a write anybody can hold an older state: it arrives, then it lives."""
        config = self.config
        in_cache = config["ttl_secs"] + config["fill_deadline_ms"] / 1000
        in_memory = config["memory_ttl_secs"] if config.get("memory_items") else 0.0
        return float(in_cache + in_memory)

    def check(self, history: History) -> list[Violation]:
        """Return how the history breaks the contract, and what is wrong in the end."""
        found = check(
            history.calls,
            history.commits,
            bound_s=self.settled_s + SLACK_S,
            propagation_s=TRUST_S + SLACK_S if self.config.get("memory_items") else 0.0,
            gathered=bool(self.config.get("gather")),
        )
        last = {name: {c.key: c.value for c in calls} for name, calls in history.last.items()}
        return found + check_final(last, history.commits)


@dataclass(frozen=True)
class History:
    calls: list[Call]
    commits: list[Commit]
    #: Each manager's last load of each key, when all was well again.
    last: dict[str, list[Call]]
    log: list[str]


def record(scratch: Scratch, plan: RunPlan) -> History:
    """Run the plan in a schema of its own, and return what happened."""
    _audit(scratch)
    with ExitStack() as stack:
        server = stack.enter_context(CacheServer())
        open_relay = stack.enter_context(relays())
        keys = [f"k{number}" for number in range(plan.keys)]
        to_cache: list[Relay] = []
        to_database: list[Relay] = []
        workers: list[_Worker] = []
        for index, kind in enumerate(plan.kinds):
            name = f"w{index}"
            to_cache.append(open_relay((server.host, server.port), f"{plan.seed} cache {name}"))
            address = make_conninfo(scratch.database_url, application_name=name)
            if "database" in plan.troubled:
                to_database.append(open_relay(database_at(scratch), f"{plan.seed} database {name}"))
                there = to_database[-1]
                address = make_conninfo(address, host=there.host, port=there.port)
            worker = WorkerPlan(
                name=name,
                kind=kind,
                seed=plan.seed,
                database_url=address,
                redis_url=server.url_at(to_cache[-1].host, to_cache[-1].port),
                keys=keys,
                config={
                    "schema": scratch.schema,
                    "key_prefix": scratch.prefix,
                    **_config_for(kind, plan.config),
                },
            )
            workers.append(stack.enter_context(_worker(dataclasses.replace(worker, **plan.worker))))
        for each in workers:
            assert each.answer() == "ready"
        with trouble(
            plan.seed,
            server=server if "server" in plan.troubled else None,
            cache_relays=to_cache if "cache" in plan.troubled else (),
            database_relays=to_database,
            workers=[worker.pid for worker in workers] if "workers" in plan.troubled else (),
        ) as log:
            calls = _all(workers, {"run": plan.seconds})
        time.sleep(plan.settled_s)
        last = _all(workers, {"read": 10.0})
    newest = {(call.manager, call.key): call for call in last}
    by_manager: dict[str, list[Call]] = defaultdict(list)
    for call in newest.values():
        by_manager[call.manager].append(call)
    return History(calls + last, _commits(scratch), by_manager, log)


def _config_for(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    only_async = ("gather",)
    return {name: v for name, v in config.items() if kind == ASYNC or name not in only_async}


class _Worker:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def tell(self, what: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "a worker ended early; its error output says why"
        return json.loads(line)


@contextmanager
def _worker(plan: WorkerPlan) -> Iterator[_Worker]:
    tests = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "support.history_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])},
    )
    try:
        worker = _Worker(process)
        worker.tell(dataclasses.asdict(plan))
        yield worker
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
    finally:
        process.kill()
        with process:
            pass


def _all(workers: list[_Worker], command: object) -> list[Call]:
    for worker in workers:
        worker.tell(command)
    return [Call(*call) for worker in workers for call in worker.answer()]


def database_at(scratch: Scratch) -> tuple[str, int]:
    """Return where PostgreSQL listens."""
    parts = conninfo_to_dict(scratch.database_url)
    return str(parts["host"]), int(parts.get("port") or 5432)


_AUDIT = """
CREATE TABLE {schema}.audit (
    place bigserial, trigger_id text, version bigint, value text, manager text
);
CREATE FUNCTION {schema}.audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO {schema}.audit (trigger_id, version, value, manager) VALUES (
        NEW.trigger_id, NEW.version, NEW.state_data ->> 'value',
        current_setting('application_name')
    );
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON {schema}.trigger_state
    FOR EACH ROW EXECUTE FUNCTION {schema}.audit();
"""


def _audit(scratch: Scratch) -> None:
    """Let the database itself note every version of every row, in the order of the row locks."""
    scratch.database.execute(sql.SQL(_AUDIT).format(schema=sql.Identifier(scratch.schema)))


def _commits(scratch: Scratch) -> list[Commit]:
    cursor: psycopg.Cursor[Any] = scratch.database.execute(
        sql.SQL("SELECT trigger_id, version, value, manager FROM {}.audit ORDER BY place").format(
            sql.Identifier(scratch.schema)
        )
    )
    return [Commit(*row) for row in cursor]

"""Dask's workers do the tasks, whatever becomes of them; if they cannot, one sentence says so."""

from __future__ import annotations

import operator
import os
import signal
import socket
import time

import psutil
import pytest
from support.dask_workers import a_cluster, worker_processes

from statecache.study.errors import StudyError
from statecache.study.scale import cluster

# Dask notices some things by pauses that a busy machine makes, too, and warns.
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:.*:UserWarning:distributed"),
]


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    with cluster.local_team(2, None, tmp_path_factory.mktemp("dask")) as team:
        yield team


def nobody():
    """Be told of nothing."""


def test_results_are_in_the_order_of_the_arguments(team):
    told = []
    arguments = [(number, 2) for number in range(20)]
    results = team.map(operator.pow, arguments, lambda: told.append(None))
    assert results == [number**2 for number in range(20)]
    assert len(told) == 20
    assert team.size == 2


def test_tasks_are_done_in_processes_of_their_own(team):
    pids = set(team.map(os.getpid, [()] * 20, nobody))
    assert os.getpid() not in pids
    assert pids <= {child.pid for child in worker_processes()}


def test_what_a_task_raises_is_raised_here(team):
    with pytest.raises(ZeroDivisionError):
        team.map(operator.truediv, [(1, 1), (1, 0)], nobody)
    assert team.map(operator.truediv, [(4, 2)], nobody) == [2], "the team goes on"


def test_nobody_listens_but_on_loopback(team):
    mine = [psutil.Process(), *worker_processes()]
    listening = [
        one.laddr.ip
        for process in mine
        for one in process.net_connections(kind="tcp")
        if one.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_a_path_that_a_worker_does_not_see_is_named(team, tmp_path):
    team.check_sees(str(tmp_path))
    with pytest.raises(StudyError, match=r"The worker tcp://127.0.0.1:\d+ does not see /gone: "):
        team.check_sees(str(tmp_path), "/gone")


def test_the_tasks_of_a_killed_worker_are_done_once_more(team):
    killed = []

    def kill_one():
        if not killed:
            killed.append(worker_processes()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    arguments = [(lambda number: time.sleep(0.05) or number, number) for number in range(40)]
    results = team.map(operator.call, arguments, kill_one)
    assert results == list(range(40))
    assert killed


@pytest.mark.parametrize("at", [1, 20])
def test_ctrl_c_is_heard_also_when_the_last_task_has_ended(team, at):
    told = []

    def interrupt():
        told.append(None)
        if len(told) == at:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        team.map(operator.neg, [(number,) for number in range(20)], interrupt)
    assert team.map(operator.neg, [(1,)], nobody) == [-1], "the team goes on"


def test_a_task_that_ends_its_workers_is_given_up(tmp_path):
    with (
        cluster.local_team(1, None, tmp_path) as team,
        pytest.raises(StudyError, match="The same task ended four workers"),
    ):
        team.map(os._exit, [(1,)], nobody)


def test_an_address_where_nobody_answers_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with socket.socket() as taken:  # bound, so nobody else gets the port; and nobody accepts
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(StudyError, match=f"No scheduler answers at {address}"),
            cluster.connected_team(address),
        ):
            pass


def test_a_host_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with (
        pytest.raises(StudyError, match=r"No scheduler answers at tcp://nowhere.invalid:8786"),
        cluster.connected_team("tcp://nowhere.invalid:8786"),
    ):
        pass


@pytest.mark.parametrize("address", ["localhost:8786", "http://127.0.0.1:8786", ""])
def test_what_is_no_address_is_refused(address):
    with (
        pytest.raises(StudyError, match="is no address: give tcp://host:port"),
        cluster.connected_team(address),
    ):
        pass


def test_a_scheduler_without_workers_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with (
        a_cluster(workers=0) as schedule,
        pytest.raises(StudyError, match=r"has no worker: start one with `dask worker tcp://127"),
        cluster.connected_team(schedule.scheduler_address),
    ):
        pass


def test_workers_that_go_away_for_good_are_missed(monkeypatch):
    monkeypatch.setattr(cluster, "NO_WORKERS_S", 0.5)
    monkeypatch.setattr(cluster, "COUNT_EVERY_S", 0.1)
    with (
        a_cluster(workers=1) as schedule,
        cluster.connected_team(schedule.scheduler_address) as team,
        pytest.raises(StudyError, match="The scheduler has had no worker for"),
    ):
        team.map(time.sleep, [(0.1,)] * 50, lambda: schedule.scale(0))


def test_a_scheduler_that_goes_away_is_missed():
    with (
        a_cluster(workers=1) as schedule,
        cluster.connected_team(schedule.scheduler_address) as team,
        pytest.raises(StudyError, match="The scheduler went away"),
    ):
        team.map(time.sleep, [(0.1,)] * 50, schedule.close)

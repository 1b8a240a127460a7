"""A broker that is killed in the middle of submissions loses none and makes none twice."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from springtide.jobs.folder import provenance
from springtide.jobs.remote import RemoteDesk
from springtide.jobs.transport import Transport
from springtide.queues.bookkeeping import new_token
from tests.broker.hub_answers import broker_process, hub_answers, start
from tests.broker.serving import PREFIX
from tests.jobs.labs import JobsLab, jobs_lab
from tests.support.network import free_port
from tests.support.waiting import wait_until

JOBS, KILLS = 8, 3


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsLab]:
    with jobs_lab(tmp_path, monkeypatch) as lab:
        (tmp_path / "state").mkdir()
        yield lab


def test_killing_the_broker_loses_no_job_and_runs_none_twice(lab: JobsLab) -> None:
    port = free_port()
    with hub_answers() as api:
        broker = broker_process(lab, api, port)
        url = f"http://127.0.0.1:{port}{PREFIX}"
        start(broker, port)
        tokens = [new_token() for _ in range(JOBS)]
        dice = random.Random(5)

        def submit(token: str) -> str:
            body = {"application": "sum", "token": token, "parameters": {"first": 1}}
            transport = Transport(url, "alice", patience_s=60)
            return str(transport.call("POST", "jobs", body)["token"])

        with ThreadPoolExecutor(3) as pool:
            submitted = [pool.submit(submit, token) for token in tokens]
            for _ in range(KILLS):
                time.sleep(dice.uniform(0.05, 0.5))
                os.kill(broker.pid, signal.SIGKILL)
                broker.stop(signal.SIGKILL)
                start(broker, port)
            assert [one.result(60) for one in submitted] == tokens
        desk = RemoteDesk(Transport(url, "alice"))
        wait_until(lambda: all(look.view.over for look in desk.looks(None)), 60, "all jobs are over", interval=0.3)
        looks = desk.looks(None)
        broker.stop(signal.SIGTERM)
    assert Counter(look.run.token for look in looks) == Counter(tokens)
    assert [look.view.exit_status for look in looks] == [0] * JOBS
    names = Counter(name for (name,) in queue_rows(lab))
    assert (len(names), set(names.values())) == (JOBS, {1})
    for look in looks:
        folder = Path(look.run.folder)
        assert (folder / "log.txt").read_text().count("adding") == 1
        assert provenance(folder, 1, 1)["exit_status"] == 0


def queue_rows(lab: JobsLab) -> list[tuple[str]]:
    database = lab.folder / "queue-of-this-machine" / "queue" / "queue.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.execute("SELECT name FROM submissions"))

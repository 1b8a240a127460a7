"""What the broker costs: fifty people who watch their hundred jobs, and one who submits."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient

from springtide.jobs.spec import JobSpec
from springtide.ledger.records import JobRecord, RunRecord
from springtide.ledger.store import Ledger
from springtide.queues.bookkeeping import new_token
from tests.benches.report import QUICK, Report, Table
from tests.broker.hub_answers import broker_process, hub_answers, start
from tests.broker.serving import PREFIX
from tests.jobs.labs import JobsLab, jobs_lab
from tests.support.leaks import LeakCheck
from tests.support.network import free_port

_USERS = 5 if QUICK else 50
_JOBS = 100
_SUBMITTED = 5 if QUICK else 50
_SECONDS = 5 if QUICK else 30
_EVERY_S = 5.0
_NOTE = """\
{users} people with {jobs} finished jobs each. Each asks for all of them every {every:g} s and for one of them every
second, as a table of jobs does, for {seconds} s; everybody also listens to changes. The hub is one that answers at
once. Clients run on the same two cores. Submissions, one after the other, go to the queue of this machine: of their
time the launcher, its queue, the job's folder and the ledger are parts. There is nothing like it to compare with."""


def bench_broker(nothing_left: LeakCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report("broker")
    with jobs_lab(tmp_path, monkeypatch) as lab, hub_answers() as api:
        (tmp_path / "state").mkdir()
        port = free_port()
        broker = broker_process(lab, api, port)
        start(broker, port)
        lab.ledger.close()
        _fill(lab)
        try:
            lists, ones, submissions = asyncio.run(_load(f"http://127.0.0.1:{port}{PREFIX}v1/"))
            memory_mib = _peak_mib(broker.pid)
        finally:
            broker.stop()
    rows = [
        (what, str(len(times)), *(f"{_percentile(times, share) * 1000:.0f}" for share in (0.5, 0.99, 1.0)))
        for what, times in ((f"list of {_JOBS} jobs", lists), ("one job", ones), ("submission", submissions))
    ]
    report.add(Table(("request", "number", "median, ms", "p99, ms", "longest, ms"), rows))
    report.add(f"Peak memory of the broker: {memory_mib:.0f} MiB.")
    report.add(_NOTE.format(users=_USERS, jobs=_JOBS, every=_EVERY_S, seconds=_SECONDS))
    report.publish()


def _fill(lab: JobsLab) -> None:
    spec = JobSpec("base/sum", ({"first": 1, "second": 2.0, "seed": 3},), name="sum", site="machine").as_json()
    with Ledger.open(lab.folder / "state" / "ledger.sqlite") as ledger:
        for user in map(_name, range(_USERS)):
            rows = []
            for _ in range(_JOBS):
                token, now = new_token(), time.time()
                folder = str(lab.folder / "jobs-of" / user / token)
                ledger.add_run(RunRecord(token, token, user, "base/sum", "machine", folder, spec, progress=1.0))
                rows.append(
                    JobRecord(
                        token, "machine", user, "root", "sum", f"sum-{token}", job_id="1", state="finished",
                        cause="exit", exit_status=0, submitted=now, started=now, ended=now, folder=folder,
                    )
                )  # fmt: skip
            ledger.add_jobs(rows)


def _name(number: int) -> str:
    return f"user{number}"


async def _load(url: str) -> tuple[list[float], list[float], list[float]]:
    AsyncHTTPClient.configure(None, max_clients=1000)
    client = AsyncHTTPClient()
    lists: list[float] = []
    ones: list[float] = []

    async def ask(user: str, path: str, times: list[float], body: object = None) -> dict[str, object]:
        began = time.perf_counter()
        headers = {"Authorization": f"token {user}", "Content-Type": "application/json"}
        sent = json.dumps(body) if body else None
        method = "POST" if sent else "GET"
        answer = await client.fetch(f"{url}{path}", method=method, headers=headers, request_timeout=60, body=sent)
        times.append(time.perf_counter() - began)
        return dict(json.loads(answer.body))

    async def person(user: str) -> None:
        await asyncio.sleep(random.uniform(0, _EVERY_S))
        until = time.monotonic() + _SECONDS
        listening = asyncio.ensure_future(
            client.fetch(
                f"{url}events", headers={"Authorization": f"token {user}"}, request_timeout=0,
                streaming_callback=lambda piece: None, raise_error=False,
            )
        )  # fmt: skip
        while time.monotonic() < until:
            page = await ask(user, f"jobs?limit={_JOBS}", lists)
            jobs = page["jobs"]
            assert isinstance(jobs, list)
            for _ in range(int(_EVERY_S)):
                await ask(user, f"jobs/{random.choice(jobs)['token']}", ones)
                await asyncio.sleep(1)
        listening.cancel()

    await asyncio.gather(*(person(_name(number)) for number in range(_USERS)))
    submissions: list[float] = []
    for _ in range(_SUBMITTED):
        await ask(_name(0), "jobs", submissions, {"application": "merge", "site": "machine", "token": new_token()})
    return lists, ones, submissions


def _percentile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024

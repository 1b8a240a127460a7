"""A chain over two sites goes on by itself, as the broker sees to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.ledger.store import Ledger
from tests.broker.serving import Serving, serving
from tests.jobs.labs import JobsLab, look_often, write_lab
from tests.support import local_queue
from tests.support.slurm import Slurm


@pytest.fixture
def broker(tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """Yield a broker for a lab with a Slurm cluster and this machine."""
    look_often(monkeypatch)
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    sites = {
        "cluster": {"kind": "slurm", "commands": str(slurm.commands)},
        "machine": {"kind": "local", "runtime": "host"},
    }
    (tmp_path / "queue").mkdir()
    with local_queue.local_site(tmp_path / "queue") as here, Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        monkeypatch.setattr("springtide.queues.opening.commands_folder", lambda: here.bin)
        here.set(cores=4, memory="2G")
        with serving(JobsLab(tmp_path, write_lab(tmp_path, sites), ledger), monkeypatch) as running:
            yield running


def test_a_chain_over_two_sites_goes_on_by_itself_and_after_a_restart(broker: Serving) -> None:
    steps = {
        "simulate": {"application": "sum", "site": "cluster", "parameters": {"sleep": 2}},
        "analyse": {"application": "sum", "site": "machine", "after": ["simulate"]},
        "report": {"application": "merge", "site": "cluster", "after": ["analyse"]},
        "never": {"application": "sum", "site": "machine", "after_failure": ["simulate"]},
        "unwanted": {"application": "sum", "site": "machine", "after": ["simulate"]},
    }
    answer = broker.ask("POST", "chains", json={"steps": steps})
    assert answer.status_code == 201, answer.text
    jobs = answer.json()
    tokens = {name: job["token"] for name, job in jobs.items()}
    assert broker.ask("GET", f"jobs/{tokens['report']}").json()["state"] == "waiting"
    assert broker.ask("POST", f"jobs/{tokens['unwanted']}/cancel").json()["cancelled"]
    broker.stop()
    broker.start()
    assert broker.over(tokens["report"])["exit_status"] == 0
    assert "total.txt" in broker.ask("GET", f"jobs/{tokens['report']}/log").text
    assert broker.over(tokens["never"])["cause"] == "dependency"
    assert broker.over(tokens["unwanted"])["cause"] == "cancelled"

"""Quotas at the broker: refused before anything is submitted, and told to those whom they concern."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from springtide.errors import QuotaExceeded
from springtide.jobs import loop
from springtide.jobs.asked import Asked
from tests.broker.serving import Serving, serving
from tests.jobs.labs import jobs_lab


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder: Path = tmp_path_factory.mktemp("broker")
    with pytest.MonkeyPatch.context() as patch, jobs_lab(folder, patch) as lab:
        quotas = {"everyone": {"jobs": 1, "core_hours": 10}}
        lab.lab_file.write_text(yaml.safe_dump({**yaml.safe_load(lab.lab_file.read_text()), "quotas": quotas}))
        with serving(lab, patch) as running:
            yield running


def test_a_quota_refuses_what_it_has_no_room_for(broker: Serving) -> None:
    job = broker.submit(parameters={"sleep": 60})
    answer = broker.ask("POST", "jobs", json={"application": "sum"})
    shown = answer.json()
    assert (answer.status_code, shown["title"]) == (403, "QuotaExceeded")
    assert shown["detail"] == "You may have 1 jobs at a time: 1 are taken, and this needs 1."
    desk = broker.desk()
    with pytest.raises(QuotaExceeded, match="1 are taken"):
        loop.call(desk.submit("sum", {}, Asked()))
    (standing,) = loop.call(desk.quotas())
    assert (standing.whose, standing.spent.jobs, standing.quota.jobs) == ("user alice", 1, 1)
    assert len(broker.ask("GET", "jobs").json()["jobs"]) == 1
    assert broker.ask("POST", f"jobs/{job['token']}/cancel").json() == {"cancelled": True}


def test_other_users_quotas_are_for_administrators(broker: Serving) -> None:
    assert broker.ask("GET", "quotas?user=alice", "bob").status_code == 403
    assert [one["whose"] for one in broker.ask("GET", "quotas", "bob").json()] == ["user bob"]
    assert [one["whose"] for one in broker.ask("GET", "quotas?user=alice", "admin").json()] == ["user alice"]

"""What ``springtide.jobs()`` returns."""

from __future__ import annotations

import ipywidgets
import pytest

from springtide.jobs import api, loop
from springtide.widgets import opening
from tests.jobs.labs import JobsLab


def test_jobs_are_a_list_and_a_widget_with_a_readable_fallback(lab: JobsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "desk", lambda: lab.desk)
    monkeypatch.setattr(opening, "desk", lambda: lab.desk)
    run = loop.call(lab.submit("merge"))
    jobs = api.list_jobs()
    assert [job.token for job in jobs] == [run.token]
    bundle = jobs._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert run.token in bundle["text/plain"]
    assert run.token in bundle["text/html"]
    ipywidgets.Widget.close_all()

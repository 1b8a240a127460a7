"""The form of an application, and the launcher around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from springtide.errors import UnknownApplication
from springtide.jobs import loop
from springtide.ledger.records import RunRecord
from springtide.widgets import form as form_module
from springtide.widgets.form import Form
from springtide.widgets.launcher import Launcher
from tests.jobs.labs import JobsLab
from tests.support.waiting import wait_until

MakeForm = Callable[..., Form]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form_module, "PAUSE_S", 0.05)


@pytest.fixture
def submitted() -> list[RunRecord]:
    return []


@pytest.fixture
def make_form(lab: JobsLab, submitted: list[RunRecord]) -> Iterator[MakeForm]:
    made: list[Form] = []

    def make(name: str = "sum", language: str = "en", **options: Any) -> Form:
        made.append(Form(lab.desk, lab.desk.offer(name), language, submitted=submitted.append, **options))
        return made[-1]

    yield make
    for form in made:
        form.close()
    wait_until(lambda: all(form._works.closed for form in made), 60, "nothing of the form goes on")


def type_into(form: Form, name: str, value: Any, *, several: bool = False) -> None:
    form.fields[name]._several.value = several
    form.fields[name]._control.value = value


def launched(form: Form, submitted: list[RunRecord]) -> RunRecord:
    before = len(submitted)
    form.launch()
    wait_until(lambda: len(submitted) > before, 60, f"it is submitted: {form._message.value}")
    return submitted[-1]


def test_what_is_typed_is_checked_at_once_and_said_at_its_field(make_form: MakeForm, lab: JobsLab) -> None:
    form = make_form()
    wait_until(lambda: "Runs: 1. machine is the only site." in form._estimate.value, 60, "the estimate is there")
    type_into(form, "first", "1000")
    assert "“1000” is too large." in form.fields["first"]._words.value
    assert 'role="alert"' in form.fields["first"]._words.value
    assert not form._estimate.value
    type_into(form, "second", "2 parsecs")
    form.launch()
    assert "Have another look at: First, Second." in form._message.value
    type_into(form, "first", "7")
    type_into(form, "second", "1 min")
    assert form.wrong == []
    assert "Takes a number" in form.fields["second"]._words.value
    assert lab.ledger.runs() == []


def test_a_sweep_is_estimated_launched_and_read_in_units(
    make_form: MakeForm, lab: JobsLab, submitted: list[RunRecord]
) -> None:
    form = make_form()
    type_into(form, "first", "1..3", several=True)
    type_into(form, "second", "0.5 min")
    wait_until(lambda: "Runs: 3." in form._estimate.value, 60, "the estimate is of three runs")
    run = launched(form, submitted)
    spec = lab.desk.job_of(run).parameters
    assert (spec["first"], spec["second"]) == ([1, 2, 3], 30.0)
    assert run.token in form._message.value


def test_resources_that_cannot_be_are_said_at_their_place(make_form: MakeForm, submitted: list[RunRecord]) -> None:
    form = make_form()
    form.wishes["cores"].value = "64"
    wait_until(lambda: "Cores: 64 is too large." in form._refused.value, 60, "the refusal is shown")
    form.launch()
    wait_until(lambda: not form.button.disabled, 60, "the button works again")
    assert not submitted
    form.wishes["cores"].value = "2"
    wait_until(lambda: "machine" in form._estimate.value, 60, "the estimate is there again")
    assert not form._refused.value


def test_a_job_is_changed_and_run_again_with_its_inputs(
    make_form: MakeForm, lab: JobsLab, submitted: list[RunRecord]
) -> None:
    file = lab.home / "in.txt"
    file.write_text("first words")
    first = loop.call(lab.submit(first=[4, 5], data=str(file), seed=11))
    file.write_text("other words")
    form = make_form(before=first)
    assert (form.fields["first"].given, form.fields["first"].several) == ("4, 5", True)
    assert form.fields["seed"].given == "11"
    type_into(form, "second", "9")
    again = launched(form, submitted)
    job = lab.desk.job_of(again)
    assert again.parent == first.token
    assert (job.parameters["first"], job.parameters["second"], job.parameters["seed"]) == ([4, 5], 9.0, 11)
    job.wait(180)
    assert "first words" in job.log


def test_a_missing_file_is_said_and_one_that_is_there_is_taken(
    make_form: MakeForm, lab: JobsLab, submitted: list[RunRecord]
) -> None:
    form = make_form()
    type_into(form, "data", "nowhere.txt")
    assert "role" in form.fields["data"]._words.value
    (lab.home / "nowhere.txt").write_text("here")
    type_into(form, "data", str(lab.home / "nowhere.txt"))
    assert form.wrong == []
    assert launched(form, submitted)


def test_the_button_pressed_twice_submits_once(make_form: MakeForm, lab: JobsLab, submitted: list[RunRecord]) -> None:
    form = make_form()
    form.button.click()
    assert form.button.disabled
    wait_until(lambda: not form.button.disabled, 60, "it is submitted")
    assert len(lab.ledger.runs()) == len(submitted) == 1


def test_the_launcher_shows_what_may_be_run_and_follows_it(lab: JobsLab) -> None:
    launcher = Launcher(lab.desk, "fr", "merge")
    assert [name for _, name in launcher.choice.options][:2] == ["base/merge", "base/sum"]
    launcher.choice.value = "base/sum"
    assert launcher.form
    type_into(launcher.form, "first", "3")
    launcher.choice.value = "base/merge"
    launcher.choice.value = "base/sum"
    assert launcher.form.fields["first"].given == "3"
    assert launcher.form.button.description == "Lancer"
    launcher.form.button.click()
    wait_until(lambda: len(launcher.table.looks) == 1, 60, "the job is in the table")
    (token,) = launcher.table.looks
    wait_until(lambda: launcher.table._chosen.value == token, 60, "it is the one that is chosen")
    assert "base/sum" in launcher._repr_mimebundle_()["text/plain"]
    launcher.close()
    wait_until(lambda: launcher.table._follower.closed, 60, "nothing follows jobs any more")


def test_an_application_that_is_not_there_is_said(lab: JobsLab) -> None:
    with pytest.raises(UnknownApplication):
        Launcher(lab.desk, application="no-such-thing")

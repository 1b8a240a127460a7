"""``springtide apps``, ``run``, ``again`` and ``jobs``, and what else understands their jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from springtide.ledger.place import ledger_path
from springtide.ledger.store import Ledger
from tests.cli.sites import local_site
from tests.jobs.labs import write_lab
from tests.support.command_line import CommandLine


@pytest.fixture
def springtide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """Yield the command line of a lab with applications, and a queue of this machine."""
    monkeypatch.setattr("springtide.cli.follow._FIRST_PAUSE_S", 0.1)
    monkeypatch.setenv("SPRINGTIDE_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("HOME", str(tmp_path))
    lab: dict[str, Any] = yaml.safe_load(write_lab(tmp_path).read_text())
    with local_site(tmp_path, monkeypatch) as site:
        site.set(cores=4, memory="2G")
        yield CommandLine(tmp_path, lab)


def nothing_submitted(springtide: CommandLine) -> bool:
    file = ledger_path(springtide.folder / "state")
    with Ledger.open(file) as ledger:
        return not ledger.jobs() and not ledger.runs() and not list(springtide.folder.glob("jobs/*"))


def test_apps_lists_what_can_be_run_and_says_what_it_takes(springtide: CommandLine) -> None:
    assert [row["application"] for row in springtide("apps").rows if row["environment"] == "base"] == ["merge", "sum"]
    page = springtide("apps", "sum").output
    assert "- `second`: Second. [a number from 0 to 100 s in s, min, h, d, yr; default: 2 s]" in page
    found = springtide("apps", "sum", "--json").json
    assert found["parameters"]["properties"]["first"]["anyOf"][0]["maximum"] == 100


def test_the_help_has_an_option_for_each_parameter_with_its_limits(springtide: CommandLine) -> None:
    answer = springtide("run", "sum", "--help")
    words = " ".join(answer.output.split())
    assert answer.status == 0
    assert "--second NUMBER Second. [a number from 0 to 100 s" in words
    assert "--fail / --no-fail" in words
    assert "--walltime" in words
    assert "springtide apps lists the applications" in springtide("run", "--help").output


def test_a_job_is_submitted_waited_for_and_shown_by_every_command(springtide: CommandLine) -> None:
    answer = springtide("run", "sum", "--first", "4", "--second", "3 s", "--wait", "--json")
    assert answer.status == 0, answer.errors
    job = answer.json
    assert (job["state"], job["exit_status"], job["progress"]) == ("finished", 0, 1.0)
    assert (job["application"], job["parameters"]["second"]) == ("base/sum", 3.0)
    assert "running" in answer.errors.lower()
    token = job["token"]
    assert [row["token"] for row in springtide("jobs").rows] == [token]
    assert springtide("jobs", token, "--json").json[0]["folder"] == job["folder"]
    assert springtide("status", token, "--json").json[0]["state"] == "finished"
    assert "adding 4 3" in springtide("logs", token).output
    assert "was over" in springtide("cancel", token).output or springtide("cancel", token).status == 0


def test_the_token_alone_is_printed_for_scripts_to_catch(springtide: CommandLine) -> None:
    answer = springtide("run", "sum", "--fail", "--wait")
    assert answer.status == 3
    assert len(answer.output.split()) == 1
    assert "machine is the only site." in answer.errors
    assert "progress 1" in answer.errors  # the end of its log


def test_a_sweep_and_one_run_of_it(springtide: CommandLine) -> None:
    answer = springtide("run", "sum", "--sweep", "first=1..3", "--wait", "--json")
    assert (answer.status, answer.json["runs"], answer.json["parameters"]["first"]) == (0, 3, [1, 2, 3])
    assert "adding 2 2" in springtide("logs", f"{answer.json['token']}[2]").output


def test_a_job_runs_again_with_changes_and_follows_another_by_its_id(springtide: CommandLine) -> None:
    first = springtide("run", "sum", "--seed", "5", "--wait", "--json").json
    again = springtide("again", first["token"], "--first", "9", "--wait", "--json").json
    assert (again["parent"], again["parameters"]["seed"], again["parameters"]["first"]) == (first["token"], 5, 9)
    merge = springtide("run", "merge", "--after", again["id"], "--wait", "--json")
    assert merge.status == 0
    assert Path(again["folder"], "outputs", "total.txt") == Path(springtide("logs", merge.json["token"]).output.strip())


WRONG = (
    (["nothing"], "There is no application “nothing”"),
    (["sum", "--first", "101"], "--first: “101” is too large. Allowed: a whole number from 0 to 100."),
    (["sum", "--second", "3 kg"], "--second: “3 kg” is in “kg”, which is no unit for it."),
    (["sum", "--data", "none.txt"], "--data: “none.txt” does not exist."),
    (["sum", "--data", "../../../etc/passwd"], "--data: "),
    (["sum", "--data", "/etc/passwd"], "--data: “/etc/passwd” lies outside your home folder"),
    (["sum", "--site", "moon"], "--site: There is no site “moon”"),
    (["sum", "--cores", "many"], "--cores: “many” is not a whole number. Allowed: 1 to 4."),
    (["sum", "--walltime", "2h"], "--walltime: 2 h is too large. Allowed: 1 min to 10 min."),
    (["sum", "--sweep", "first"], "--sweep: “first” is no sweep"),
    (["sum", "--sweep", "third=1..2"], "--third: This application has no such parameter."),
    (["sum", "--sweep", "first=1..2", "--first", "1"], "--first: It is given twice"),
    (["sum", "--after", "zzzzzzzz"], "--after: There is no job “zzzzzzzz”."),
    (["--first", "1", "sum"], "--first stands where a name should."),
    (["sum", "--frist", "1"], "No such option"),
)


def test_bad_input_is_one_message_at_the_option_and_nothing_is_submitted(springtide: CommandLine) -> None:
    for arguments, words in WRONG:
        answer = springtide("run", *arguments)
        assert (answer.status in (1, 2), answer.output) == (True, "")
        assert words in answer.errors
        assert "Traceback" not in answer.errors
    assert nothing_submitted(springtide)


def test_ten_megabytes_of_text_are_refused_in_a_short_message(springtide: CommandLine) -> None:
    answer = springtide("run", "sum", "--first", "9" * 10_000_000)
    assert (answer.status, len(answer.errors) < 300) == (1, True)
    assert nothing_submitted(springtide)


def test_a_wrong_application_file_is_told_by_check(springtide: CommandLine) -> None:
    file = springtide.folder / "mine" / "apps" / "sum.yaml"
    file.write_text(file.read_text().replace("kind: integer", "kind: integr", 1))
    answer = springtide("run", "sum")
    assert (answer.status, answer.errors.startswith(f"{file}:4: parameters.first.kind")) == (2, True)


def test_a_job_that_runs_again_and_again_is_made_listed_paused_and_ended(springtide: CommandLine) -> None:
    made = springtide("run", "sum", "--first", "4", "--cron", "30 2 * * mon-fri", "--zone", "Europe/Paris")
    assert made.status == 0, made.errors
    token = made.output.strip()
    assert "02:30 CE" in made.errors
    (listed,) = springtide("schedules").rows
    assert (listed["schedule"], listed["cron"], listed["state"]) == (token, "30 2 * * mon-fri", "on")
    (shown,) = springtide("schedules", "--json").json
    assert (shown["parameters"], len(shown["due"]), shown["missed"]) == ({"first": "4"}, 5, "once")
    (paused,) = springtide("schedules", "pause", token).rows
    assert (paused["state"], paused["due"]) == ("paused", "")
    assert springtide("schedules", "resume", token).rows[0]["state"] == "on"
    assert springtide("schedules", "end", token).rows[0]["state"] == "ended"
    assert springtide("schedules").rows == []
    with Ledger.open(ledger_path(springtide.folder / "state")) as ledger:
        assert ledger.runs() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--cron", "0 0 31 2 *"), "--cron: “0 0 31 2 *” cannot be"),
        (("--cron", "soon"), "--cron: “soon” has 1 fields."),
        (("--cron", "@daily", "--zone", "Mars"), "--zone: There is no time zone “Mars”"),
        (("--cron", "@daily", "--wait"), "without --wait"),
        (("--cron", "@daily", "--first", "1000"), "--first: “1000” is too large"),
    ],
)
def test_schedules_that_cannot_be_are_refused_at_their_option(
    springtide: CommandLine, options: tuple[str, ...], words: str
) -> None:
    answer = springtide("run", "sum", *options)
    assert (answer.status, words in answer.errors) == (1, True), answer.errors
    assert springtide("schedules", "--json").json == []
    assert springtide("schedules", "end", "zzzzzzzz").status == 1


def test_quota_shows_what_is_taken_of_what_is_allowed(springtide: CommandLine) -> None:
    assert springtide("quota", "--json").json == []
    springtide = CommandLine(springtide.folder, {**springtide.lab, "quotas": {"everyone": {"jobs": 1}}})
    assert springtide("run", "sum", "--sleep", "60").status == 0
    (row,) = springtide("quota").rows
    assert (row["jobs"], row["cores"]) == ("1/1", "")
    answer = springtide("run", "sum")
    assert (answer.status, "1 are taken, and this needs 1" in answer.errors) == (1, True)
    springtide("cancel", springtide("jobs").rows[0]["token"])

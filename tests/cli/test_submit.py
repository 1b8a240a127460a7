"""``springtide submit``: ordinary scripts, checked, explained, submitted and waited for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from springtide.cli.submit import overruled
from springtide.ledger.place import ledger_path
from springtide.ledger.store import Ledger
from tests.cli.sites import local_command_line, local_site, slurm_command_line
from tests.support.accounts import TwoUsers, run_as
from tests.support.command_line import CommandLine
from tests.support.hub import SPRINGTIDE
from tests.support.openpbs import OpenPBS
from tests.support.slurm import Slurm

LISACODE = Path(__file__).parent.parent / "data" / "scripts" / "lisacode.pbs"
KEYS = ("id", "site", "name", "state", "exit_status", "cause", "reason", "advice", "submitted", "started", "ended")


@pytest.fixture
def springtide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """Yield the command line of a lab with this machine's queue."""
    with local_site(tmp_path, monkeypatch):
        yield local_command_line(tmp_path)


@pytest.fixture
def on_slurm(tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return slurm_command_line(tmp_path, slurm, monkeypatch)


def rows_in(springtide: CommandLine) -> int:
    file = ledger_path(springtide.folder / "state")
    if not file.exists():
        return 0
    with Ledger.open(file) as ledger:
        return len(ledger.jobs())


def test_the_id_alone_is_printed_for_scripts_to_catch(springtide: CommandLine) -> None:
    answer = springtide("submit", springtide.script("true"))
    assert (answer.status, answer.output) == (0, "1\n")
    assert "Output: " in answer.errors


def test_who_waits_gets_the_jobs_own_exit_status(springtide: CommandLine) -> None:
    script = springtide.script("echo $PBS_O_WORKDIR; pwd; echo no >&2; exit 3", "#PBS -N fit")
    answer = springtide("submit", script, "--wait", "--json", "--folder", str(springtide.folder))
    assert answer.status == 3
    job = answer.json
    assert tuple(job)[: len(KEYS)] == KEYS
    assert (job["site"], job["name"], job["state"], job["exit_status"]) == ("machine", "fit", "finished", 3)
    assert Path(job["output"]).read_text().splitlines() == [str(springtide.folder)] * 2
    assert Path(job["errors"]).read_text() == "no\n"
    assert job["ended"] >= job["started"] >= job["submitted"]


def test_a_dry_run_shows_the_script_and_leaves_nothing(springtide: CommandLine) -> None:
    answer = springtide("submit", springtide.script("hostname", "#PBS -N fit -l walltime=00:10:00"), "--dry-run")
    assert answer.status == 0
    assert "#SPRINGTIDE walltime=00:10:00" in answer.output
    assert "#SPRINGTIDE name=fit-" in answer.output
    assert answer.output.endswith("hostname\n")
    assert rows_in(springtide) == 0


def test_options_win_over_the_script(springtide: CommandLine) -> None:
    options = ("--name", "mine", "--walltime", "5m", "--memory", "20M", "--cores", "2", "--array", "1-3")
    answer = springtide("submit", springtide.script("true", "#PBS -N x -l ncpus=1"), "--dry-run", *options)
    for line in ("name=mine-xxxxxxxx", "walltime=00:05:00", "memory=20971520", "cores=2", "array=1-3:1"):
        assert f"#SPRINGTIDE {line}" in answer.output


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--memory", "4X", "--memory is “4X”"),
        ("--walltime", "-1h", "--walltime is “-1h”"),
        ("--walltime", "0", "--walltime is “0”"),
        ("--array", "9-1", "--array is “9-1”"),
        ("--name", "a\nb", "cannot be printed"),
        ("--name", 'a"b', "quotes"),
        ("--name", "x" * 300, "300 characters"),
        ("--site", "moon", "There is no site “moon”. The lab has: machine, local"),
    ],
)
def test_an_option_that_makes_no_sense_is_said_before_anything_is_submitted(
    tmp_path: Path, option: str, value: str, words: str
) -> None:
    springtide = local_command_line(tmp_path)
    answer = springtide("submit", springtide.script("true"), option, value)
    assert (answer.status, answer.output) == (1, "")
    assert words in answer.errors
    assert rows_in(springtide) == 0


def test_what_an_option_names_must_be_there(springtide: CommandLine) -> None:
    for option, value, words in (
        ("--after", "ok", "--after is “ok”"),
        ("--after", "ok:nobody", "there is no job “nobody”"),
        ("--folder", "/nowhere/at/all", "There is no folder /nowhere/at/all"),
    ):
        answer = springtide("submit", springtide.script("true"), option, value)
        assert (answer.status, answer.output) == (1, "")
        assert words in answer.errors
    assert rows_in(springtide) == 0


@pytest.mark.parametrize(
    ("directive", "words"),
    [
        ("#PBS -l select=1:ncpus=400", "400"),
        ("#PBS -l walltime=nine", "job.sh:2: -l walltime is “nine”"),
        ("#SBATCH --constraint=avx512", "has a meaning for Slurm only"),
    ],
)
def test_what_can_never_run_here_is_refused_before_it_is_submitted(
    springtide: CommandLine, directive: str, words: str
) -> None:
    answer = springtide("submit", springtide.script("true", directive))
    assert answer.status == 1
    assert words in answer.errors
    assert rows_in(springtide) == 0


def test_a_job_follows_others_by_id_or_token(springtide: CommandLine) -> None:
    first = springtide.submit("sleep 0.5; exit 1", options=("--json",))
    token = json.loads(first)["token"]
    after_failure = springtide("submit", springtide.script("true"), "--after", f"failure:{token}", "--wait")
    assert after_failure.status == 0
    after_success = springtide("submit", springtide.script("true"), "--after", "ok:1", "--wait", "--json")
    assert (after_success.status, after_success.json["cause"]) == (1, "dependency")


def test_names_may_have_accents(springtide: CommandLine) -> None:
    answer = springtide("submit", springtide.script("true"), "--name", "étude n°1", "--json")
    assert (answer.status, answer.json["name"]) == (0, "étude n°1")


def test_commands_that_are_missing_are_said_with_what_to_do(
    springtide: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("springtide.queues.opening.commands_folder", lambda: springtide.folder)
    answer = springtide("submit", springtide.script("true"))
    assert answer.status == 1
    assert "The command springtide-local-queue of this machine's queue is missing" in answer.errors
    assert "install it again" in answer.errors


def test_a_wrong_lab_file_is_exit_status_2(springtide: CommandLine) -> None:
    (springtide.folder / "lab.yaml").write_text("springtide: 1\nsites: {a: {kind: locale}}\n")
    answer = springtide("submit", springtide.script("true"))
    assert answer.status == 2
    assert "sites.a.kind" in answer.errors


# --- the lab's script, unchanged ------------------------------------------------------------------------------------


def submitted_lisacode(springtide: CommandLine) -> None:
    answer = springtide("submit", str(LISACODE), "--folder", str(springtide.folder), "--wait", "--json")
    check_lisacode(answer.json, answer.status)


def check_lisacode(job: Any, status: int) -> None:
    """Check that the lab's script ran to its end: all that it lacks here is its image, or the program that reads it."""
    assert (job["name"], job["state"], job["cause"]) == ("lisacode", "finished", "exit")
    assert status == job["exit_status"] != 0
    errors = Path(job["errors"]).read_text()
    assert "singularity: command not found" in errors or "lisacode.img" in errors


def test_the_labs_script_runs_on_this_machine(springtide: CommandLine) -> None:
    submitted_lisacode(springtide)


def test_the_labs_script_runs_on_slurm(on_slurm: CommandLine) -> None:
    dry = on_slurm("submit", str(LISACODE), "--dry-run").output
    assert "#SBATCH --mail-type=BEGIN,END,FAIL" in dry
    submitted_lisacode(on_slurm)


def test_the_labs_script_runs_where_slurm_has_only_its_pbs_commands(on_slurm: CommandLine, slurm: Slurm) -> None:
    site = {"kind": "slurm", "commands": str(slurm.pbs_commands(on_slurm.folder))}
    profiles = [{"name": "x", "site": "cluster"}]
    springtide = CommandLine(on_slurm.folder, {"springtide": 1, "sites": {"cluster": site}, "profiles": profiles})
    answer = springtide("submit", str(LISACODE), "--folder", str(on_slurm.folder), "--wait", "--json")
    assert answer.errors.splitlines()[-1] == "finished"
    job = answer.json
    # These commands tell no exit status; what the job wrote does.
    assert (job["name"], job["state"], job["exit_status"]) == ("lisacode", "finished", None)
    assert "singularity" in Path(job["errors"]).read_text()


def test_the_labs_script_runs_on_openpbs(openpbs: OpenPBS, two_users: TwoUsers) -> None:
    home, user = two_users.alice.home, two_users.alice
    site = {"kind": "pbspro", "commands": str(openpbs.commands)}
    lab = {"springtide": 1, "sites": {"pbs": site}, "profiles": [{"name": "x", "site": "pbs"}]}
    for name, content in (("lab.yaml", yaml.safe_dump(lab)), ("lisacode.pbs", LISACODE.read_text())):
        (home / name).write_text(content)
        (home / name).chmod(0o644)
    submit = [str(SPRINGTIDE), "submit", "lisacode.pbs", "--lab", "lab.yaml", "--state", "state"]
    dry = run_as(user, [*submit, "--dry-run"], environment=openpbs.environment)
    assert "\n#PBS -m abe\n" in dry.stdout
    answer = run_as(user, [*submit, "--wait", "--json"], environment=openpbs.environment, check=False)
    check_lisacode(json.loads(answer.stdout), answer.returncode)


def test_resources_of_pbs_are_asked_of_slurm(on_slurm: CommandLine) -> None:
    script = on_slurm.script(
        'cd "$PBS_O_WORKDIR"; sort "$PBS_NODEFILE" | uniq -c; echo $PBS_NP',
        "#PBS -l select=2:ncpus=2:mpiprocs=2:mem=100mb -l walltime=00:05:00 -q long",
    )
    answer = on_slurm("submit", script, "--folder", str(on_slurm.folder), "--wait", "--json")
    assert answer.status == 0, answer.errors
    assert "The queue “long” is left out: this site has none of that name (it has batch, short)." in answer.errors
    lines = [line.split() for line in Path(answer.json["output"]).read_text().splitlines()]
    assert lines == [["2", "127.0.0.2"], ["2", "127.0.0.3"], ["4"]]


def test_slurms_own_script_runs_on_this_machine(springtide: CommandLine) -> None:
    script = springtide.script(
        "echo $SLURM_ARRAY_TASK_ID of $SLURM_NTASKS", "#SBATCH -n 2 -J fit --array=4-6:2 --mem 20"
    )
    answer = springtide("submit", script, "--folder", str(springtide.folder), "--wait", "--json")
    assert answer.status == 0
    written = [Path(f"{answer.json['output']}.{index}").read_text() for index in (4, 6)]
    assert written == ["4 of 2\n", "6 of 2\n"]


def test_a_line_that_pbs_would_not_heed_is_found() -> None:
    header = ["-N x", "-l select=1:ncpus=2", "-l walltime=01:00:00"]
    assert overruled(header, ["-W umask=022", "-l select=1:host=n1+2:ncpus=4"]) == "-l select=1:host=n1+2:ncpus=4"
    assert overruled(header, ["-l place=excl"]) == ""

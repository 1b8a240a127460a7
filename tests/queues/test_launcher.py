"""The launcher: fixed verbs, and no input that makes it do anything else."""

from __future__ import annotations

import io
import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.queues import launcher
from tests.support.accounts import TwoUsers

PROGRAM = Path(launcher.__file__)
SCRIPT = "#!/bin/sh\ntrue\n"


def answer(request: bytes | dict[str, Any], commands: Path | None = None) -> dict[str, Any]:
    raw = request if isinstance(request, bytes) else json.dumps(request).encode()
    environment = {"SPRINGTIDE_COMMANDS": str(commands), "PATH": "/usr/bin:/bin"} if commands else {}
    done = subprocess.run([sys.executable, "-I", PROGRAM], input=raw, capture_output=True, env=environment, check=True)
    assert done.stderr == b""
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def program(folder: Path, name: str, *lines: str) -> None:
    (folder / name).write_text("\n".join(["#!/bin/sh", *lines, ""]))
    (folder / name).chmod(0o755)


def submit(*scripts: str, dialect: str = "slurm", **more: Any) -> dict[str, Any]:
    return {"verb": "submit", "dialect": dialect, "scripts": list(scripts), **more}


def cancel(*ids: str, dialect: str = "pbspro") -> dict[str, Any]:
    return {"verb": "cancel", "dialect": dialect, "ids": list(ids)}


# --- bad requests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object with a verb"),
        (b'{"verb": 3}', "not a JSON object with a verb"),
        (b'{"verb": "shell"}', "unknown verb"),
        (b'{"verb": "submit", "dialect": "pbspro"}', "takes exactly"),
        (b'{"verb": "submit", "dialect": "pbspro", "script": "#!/bin/sh"}', "takes exactly"),
        (b'{"verb": "submit", "dialect": "pbspro", "scripts": "#!/bin/sh"}', "takes exactly"),
        (b'{"verb": "submit", "dialect": "pbspro", "scripts": []}', "takes exactly"),
        (b'{"verb": "submit", "dialect": "pbspro", "scripts": ["#!/bin/sh", 1]}', "takes exactly"),
        (b'{"verb": "submit", "dialect": "pbspro", "scripts": ["#!/bin/sh\\ud800"]}', "takes exactly"),
        (submit("#!/bin/sh", folder=3), "takes exactly"),
        (submit("#!/bin/sh", folder="runs"), "absolute"),
        (submit("#!/bin/sh", folder="/no/such/folder"), "no folder /no/such/folder"),
        (submit("#!/bin/sh", folder="/etc/passwd"), "no folder"),
        (submit("#!/bin/sh", folder="/tmp\0"), "absolute"),
        (submit("#!/bin/sh", folder="/" + 5000 * "x"), "no folder"),
        (submit("#!/bin/sh", dialect="sh"), "unknown dialect"),
        (submit("#!/bin/sh", "rm -rf /"), "must start with"),
        (submit("#!/bin/sh\0"), "NUL"),
        (submit("#!/bin/sh\r\n"), "CR"),
        (submit(*[SCRIPT] * (launcher.MOST_AT_ONCE + 1)), "takes exactly"),
        (cancel("12; rm"), "not a job id"),
        (cancel("--help"), "not a job id"),
        (cancel("1", "2", "-u"), "not a job id"),
        (cancel(), "takes exactly"),
        (b'{"verb": "tail", "log": "../.ssh/id_rsa"}', "not the name of a session"),
        (b'{"verb": "tail", "log": "st-0123456789ab.log/../../x"}', "not the name of a session"),
        (b'{"verb": "check", "extra": "x"}', "takes exactly"),
        (b"[" * 100_000, "not JSON"),
        (b" " * (launcher.REQUEST_LIMIT_BYTES + 1), "larger than"),
    ],
)
def test_a_bad_request_is_refused_in_words(request_: bytes | dict[str, Any], words: str, tmp_path: Path) -> None:
    for name in ("sbatch", "qsub", "qdel", "scancel"):
        program(tmp_path, name, f"touch {tmp_path}/ran")
    refusal = answer(request_, tmp_path)
    assert refusal["ok"] is False
    assert refusal["kind"] == "bad request"
    assert words in str(refusal["error"])
    assert not (tmp_path / "ran").exists()


NAMES = ["verb", "dialect", "script", "scripts", "id", "ids", "log", "folder"]
VERBS = ["submit", "cancel", "tail", "remove", "check"]
DIALECTS = ["slurm", "slurm-pbs", "pbspro", "torque", "local"]
ODD = ["#!/bin/sh", "12", "12.head", "/tmp", "-", "--all", "\0", "st-0123456789ab.log", "../x", "\ud800", "é", "#!/a\r"]
WORDS = st.sampled_from([*NAMES, *VERBS, *DIALECTS, *ODD])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=5),
    max_leaves=12,
)
# Close to what is right, so that every check is reached.
REQUESTS = st.fixed_dictionaries(
    {"verb": st.sampled_from([*VERBS, "submit ", ""]) | VALUES},
    optional={name: st.lists(WORDS, max_size=3) | VALUES for name in ("dialect", "scripts", "ids", "log", "folder")},
)


@pytest.fixture(scope="module")
def tripwires(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of commands that write down their arguments and standard input."""
    folder = tmp_path_factory.mktemp("tripwires")
    for name in ("sbatch", "qsub", "qdel", "scancel", "springtide-local-queue"):
        program(folder, name, f'{{ echo "{name} $*"; cat; }} >>{folder}/ran', "echo 12")
    return folder


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300) | (VALUES | REQUESTS).map(lambda value: json.dumps(value).encode()))
def test_any_input_gets_one_answer_and_a_bad_one_never_runs_a_command(tripwires: Path, raw: bytes) -> None:
    (tripwires / "ran").unlink(missing_ok=True)
    shown = _main(raw, tripwires)
    assert isinstance(shown, dict)
    assert isinstance(shown["ok"], bool)
    if (tripwires / "ran").exists():
        request = json.loads(raw)
        assert shown["ok"] is True
        assert request["verb"] in ("submit", "cancel")
        assert all(text.startswith("#!/") for text in request.get("scripts", []))
        assert all(text in ("12", "12.head") for text in request.get("ids", []))
        first = (tripwires / "ran").read_text().split()
        assert first[0] in ("sbatch", "qsub", "qdel", "scancel", "springtide-local-queue")


def _main(raw: bytes, commands: Path) -> Any:
    """Run the program's main function here: hundreds of processes would take long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPRINGTIDE_COMMANDS", str(commands))
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        output = io.StringIO()
        patch.setattr(sys, "stdout", output)
        umask = os.umask(0o022)
        try:
            assert launcher.main() == 0
            return json.loads(output.getvalue())
        finally:
            os.umask(umask)


# --- submitting -----------------------------------------------------------------------------------------------------


def test_a_missing_command_is_said_in_words(tmp_path: Path) -> None:
    (job,) = answer(submit(SCRIPT), tmp_path)["jobs"]
    assert job["kind"] == "refused"
    assert "No such file" in job["error"]


def test_the_script_reaches_the_scheduler_on_standard_input_only(tmp_path: Path) -> None:
    program(tmp_path, "qsub", f'echo "$@" > {tmp_path}/argv', f"cat > {tmp_path}/stdin", "echo 12.head")
    script = "#!/bin/sh\nexport TOKEN=secret É"
    assert answer(submit(script, dialect="pbspro"), tmp_path)["jobs"] == [{"ok": True, "id": "12.head"}]
    assert (tmp_path / "argv").read_text().strip() == "-f"
    assert (tmp_path / "stdin").read_text() == script


def test_many_jobs_for_pbs_share_one_connection(tmp_path: Path) -> None:
    program(tmp_path, "qsub", f'echo "[$*]" >> {tmp_path}/argv', "echo 12.head")
    answer(submit(SCRIPT, SCRIPT, dialect="pbspro"), tmp_path)
    assert (tmp_path / "argv").read_text().split() == ["[]", "[]"]


def test_slurms_pbs_commands_get_the_script_as_a_file_that_is_none(tmp_path: Path) -> None:
    program(tmp_path, "qsub", f'for last; do :; done; cat "$last" > {tmp_path}/script', "echo 12")
    assert answer(submit(SCRIPT, dialect="slurm-pbs"), tmp_path)["ok"]
    assert (tmp_path / "script").read_text() == SCRIPT


def test_the_local_queue_is_a_program_like_the_others(tmp_path: Path) -> None:
    program(tmp_path, "springtide-local-queue", f'echo "$@" >> {tmp_path}/argv', "echo 7")
    assert answer(submit(SCRIPT, dialect="local"), tmp_path)["jobs"] == [{"ok": True, "id": "7"}]
    assert answer(cancel("7", "8", dialect="local"), tmp_path)["ok"]
    assert (tmp_path / "argv").read_text().splitlines() == ["submit", "cancel 7 8"]


def test_many_scripts_are_submitted_in_their_order_and_each_has_its_answer(tmp_path: Path) -> None:
    program(
        tmp_path,
        "sbatch",
        "read line; read number",
        'test "$number" = 2 && { echo "sbatch: error: invalid account" >&2; exit 1; }',
        'echo "$number;cluster"',
    )
    jobs = answer(submit(*(f"#!/bin/sh\n{number}\n" for number in (1, 2, 3))), tmp_path)["jobs"]
    assert [job.get("id") for job in jobs] == ["1", None, "3"]
    assert (jobs[1]["kind"], jobs[1]["error"]) == ("refused", "sbatch: error: invalid account")


def test_a_failure_in_words_of_nobodys_is_unclear(tmp_path: Path) -> None:
    program(tmp_path, "sbatch", "echo 'no jobs on Mondays'; exit 3")
    (job,) = answer(submit(SCRIPT), tmp_path)["jobs"]
    assert (job["kind"], job["error"]) == ("unclear", "no jobs on Mondays")


@pytest.mark.parametrize(
    "failure",
    [
        "echo 'sbatch: error: Unable to contact slurm controller (connect failure)' >&2; exit 1",
        "echo 'qsub: cannot connect to server head (errno=111)' >&2; exit 111",
        "echo 'Munge encode failed: Failed to access socket' >&2; exit 1",
        "exit 153",
        "kill -9 $$",
        "echo what is this",
        "echo 12; exit 1",
        "echo 12; echo or so",
        r"printf '\377\n12\n'",
        "true",
    ],
)
def test_an_answer_that_leaves_doubt_is_no_refusal_and_stops_the_others(failure: str, tmp_path: Path) -> None:
    program(
        tmp_path, "sbatch", f"test -e {tmp_path}/first && {{ {failure}; exit; }}", f"touch {tmp_path}/first; echo 1"
    )
    jobs = answer(submit(*[SCRIPT] * 4), tmp_path)["jobs"]
    assert [job.get("kind", job["ok"]) for job in jobs] == [True, "unknown", "not tried", "not tried"]


def test_what_it_has_started_ends_with_it(tmp_path: Path) -> None:
    program(tmp_path, "sbatch", f"(sleep 1.5; touch {tmp_path}/late) & wait")
    launched = subprocess.Popen(
        [sys.executable, "-I", str(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"SPRINGTIDE_COMMANDS": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    with launched:
        assert launched.stdin
        launched.stdin.write(json.dumps(submit(SCRIPT)).encode())
        launched.stdin.close()
        time.sleep(0.5)
        launched.terminate()
    time.sleep(1.5)
    assert not (tmp_path / "late").exists()


def test_a_command_that_takes_too_long_leaves_doubt(tmp_path: Path) -> None:
    (tmp_path / "launcher.py").write_text(
        PROGRAM.read_text().replace("COMMAND_WITHIN_S = 60", "COMMAND_WITHIN_S = 0.2")
    )
    program(tmp_path, "sbatch", f"(sleep 1; touch {tmp_path}/late) & wait")
    done = subprocess.run(
        [sys.executable, "-I", str(tmp_path / "launcher.py")],
        input=json.dumps(submit(SCRIPT)).encode(),
        capture_output=True,
        env={"SPRINGTIDE_COMMANDS": str(tmp_path), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    (job,) = json.loads(done.stdout)["jobs"]
    assert job["kind"] == "unknown"
    assert "did not answer within 0.2 s" in job["error"]
    time.sleep(1)
    assert not (tmp_path / "late").exists()


def test_jobs_are_submitted_from_the_folder_that_is_asked_for_or_from_home(tmp_path: Path) -> None:
    program(tmp_path, "sbatch", f"pwd >> {tmp_path}/where; echo 1")
    answer(submit(SCRIPT, folder=str(tmp_path)), tmp_path)
    answer(submit(SCRIPT), tmp_path)
    home = Path(pwd.getpwuid(os.geteuid()).pw_dir).resolve()
    assert (tmp_path / "where").read_text().splitlines() == [str(tmp_path.resolve()), str(home)]


def test_a_folder_that_the_user_may_not_enter_is_refused_as_the_user(two_users: TwoUsers) -> None:
    asked = json.dumps(submit(SCRIPT, folder=str(two_users.bob.home)))
    code = PROGRAM.read_text(encoding="utf-8")
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", code],
        input=asked.encode(),
        capture_output=True,
        check=True,
        cwd="/",
        user=two_users.alice.uid,
        group=two_users.alice.gid,
        extra_groups=[],
    )
    assert f"no folder {two_users.bob.home} that {two_users.alice.name} may enter" in json.loads(done.stdout)["error"]


# --- cancelling -----------------------------------------------------------------------------------------------------


def test_ids_are_cancelled_twenty_at_a_time(tmp_path: Path) -> None:
    program(tmp_path, "qdel", f"echo $# >> {tmp_path}/counts")
    assert answer(cancel(*(f"{number}.head" for number in range(45))), tmp_path) == {
        "ok": True,
        "gone": [],
        "failed": {},
    }
    assert (tmp_path / "counts").read_text().split() == ["20", "20", "5"]


@pytest.mark.parametrize(
    "words",
    [
        "qdel: Unknown Job Id 2.head",
        "qdel: Job has finished 2.head",
        "qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE 2.head",
        "scancel: error: Kill job error on job id 2.head: Invalid job id specified",
        "scancel: error: Kill job error on job id 2.head: Job/step already completing or completed",
    ],
)
def test_those_that_are_over_or_unknown_are_told_apart_and_no_failure(words: str, tmp_path: Path) -> None:
    program(tmp_path, "qdel", f"echo '{words}' >&2; exit 1")
    assert answer(cancel("1.head", "2.head", "12.head"), tmp_path) == {"ok": True, "gone": ["2.head"], "failed": {}}


def test_words_that_name_no_job_are_about_all_of_them(tmp_path: Path) -> None:
    program(tmp_path, "qdel", "echo 'qdel: cannot connect to server head (errno=111)' >&2; exit 111")
    failed = answer(cancel("1.head", "2.head"), tmp_path)["failed"]
    assert failed == dict.fromkeys(["1.head", "2.head"], "qdel: cannot connect to server head (errno=111)")


@pytest.mark.parametrize("job_id", ["1", "1.head", "1[].head", "1[7].head", "12_3", "123456789012"])
def test_the_ids_of_all_schedulers_are_taken(job_id: str, tmp_path: Path) -> None:
    program(tmp_path, "qdel", f'echo "$@" > {tmp_path}/argv')
    assert answer(cancel(job_id), tmp_path)["ok"]
    assert (tmp_path / "argv").read_text().strip() == job_id


def test_check_says_who_it_runs_as() -> None:
    assert answer(b'{"verb": "check"}')["ok"] is True


def test_it_stays_small_enough_to_be_read_before_it_is_installed() -> None:
    lines = PROGRAM.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 300

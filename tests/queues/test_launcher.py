"""The launcher: fixed verbs, and no input that makes it do anything else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.queues import launcher

PROGRAM = Path(launcher.__file__)


def answer(request: bytes, home: Path | None = None) -> dict[str, object]:
    environment = {"SPRINGTIDE_COMMANDS": str(home)} if home else {}
    done = subprocess.run(
        [sys.executable, "-I", PROGRAM], input=request, capture_output=True, env=environment, check=True
    )
    assert done.stderr == b""
    parsed: dict[str, object] = json.loads(done.stdout)
    return parsed


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object with a verb"),
        (b'{"verb": 3}', "not a JSON object with a verb"),
        (b'{"verb": "shell"}', "unknown verb"),
        (b'{"verb": "submit", "dialect": "pbspro"}', "takes exactly"),
        (b'{"verb": "submit", "dialect": "pbspro", "script": 1}', "takes exactly"),
        (b'{"verb": "submit", "dialect": "sh", "script": "#!/bin/sh"}', "unknown dialect"),
        (b'{"verb": "submit", "dialect": "pbspro", "script": "rm -rf /"}', "must start with"),
        (b'{"verb": "submit", "dialect": "pbspro", "script": "#!/bin/sh\\u0000"}', "NUL"),
        (b'{"verb": "submit", "dialect": "pbspro", "script": "#!/bin/sh\\r\\n"}', "CR"),
        (b'{"verb": "cancel", "dialect": "pbspro", "id": "12; rm"}', "not a job id"),
        (b'{"verb": "cancel", "dialect": "pbspro", "id": "--help"}', "not a job id"),
        (b'{"verb": "tail", "log": "../.ssh/id_rsa"}', "not the name of a session"),
        (b'{"verb": "tail", "log": "st-0123456789ab.log/../../x"}', "not the name of a session"),
        (b'{"verb": "check", "extra": "x"}', "takes exactly"),
        (b"[" * 100_000, "not JSON"),
        (b" " * (launcher.REQUEST_LIMIT_BYTES + 1), "larger than"),
    ],
)
def test_a_bad_request_is_refused_in_words(request_: bytes, words: str) -> None:
    refusal = answer(request_)
    assert refusal["ok"] is False
    assert refusal["kind"] == "bad request"
    assert words in str(refusal["error"])


@given(st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["verb", "dialect", "script", "id", "log", "x"]), inner, max_size=5
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_input_is_answered_or_refused_and_never_runs_a_command(raw: bytes) -> None:
    try:
        launcher.answer_request(raw)
    except launcher.BadRequest:
        return
    assert json.loads(raw)["verb"] in ("check", "tail", "remove", "submit", "cancel")


def test_a_missing_command_is_said_in_words(tmp_path: Path) -> None:
    refusal = answer(b'{"verb": "submit", "dialect": "slurm", "script": "#!/bin/sh\\ntrue"}', tmp_path)
    assert refusal["kind"] == "refused"
    assert "No such file" in str(refusal["error"])


def test_the_script_reaches_the_scheduler_on_standard_input_only(tmp_path: Path) -> None:
    qsub = tmp_path / "qsub"
    qsub.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/argv\ncat > {tmp_path}/stdin\necho 12.head\n')
    qsub.chmod(0o755)
    request = json.dumps({"verb": "submit", "dialect": "pbspro", "script": "#!/bin/sh\nexport TOKEN=secret"})
    assert answer(request.encode(), tmp_path) == {"ok": True, "id": "12.head"}
    assert (tmp_path / "argv").read_text().strip() == "-f"
    assert "secret" in (tmp_path / "stdin").read_text()


def test_output_that_is_no_job_id_is_not_taken_for_one(tmp_path: Path) -> None:
    qsub = tmp_path / "qsub"
    qsub.write_text("#!/bin/sh\necho queue is closed\n")
    qsub.chmod(0o755)
    refusal = answer(b'{"verb": "submit", "dialect": "torque", "script": "#!/bin/sh"}', tmp_path)
    assert refusal["ok"] is False
    assert "queue is closed" in str(refusal["error"])


def test_check_says_who_it_runs_as() -> None:
    assert answer(b'{"verb": "check"}')["ok"] is True

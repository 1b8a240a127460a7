"""``springtide ledger``: lists, exports, sums up."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from springtide.cli.ledger import ledger
from springtide.errors import LedgerError
from springtide.ledger.records import REFUSED, Event
from springtide.ledger.store import Ledger
from tests.e2e.labs import process_lab
from tests.ledger.make import job
from tests.support.hub import SPRINGTIDE

NOW = time.time()
EVIL = '=HYPERLINK("http://evil")'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a ledger with five jobs."""
    file = tmp_path_factory.mktemp("state") / "ledger.sqlite"
    done = {"cause": "exit", "exit_status": 0, "submitted": NOW - 5000, "started": NOW - 4940}
    asked = {"cores": 4, "walltime_s": 3600, "memory_bytes": 4 * 2**30}
    used = {"used_cpu_s": 1440.0, "used_walltime_s": 720.0, "used_memory_bytes": 2**30}
    cancelled = {"cause": "cancelled", "cancelled_by": "bob"}
    with Ledger.open(file) as made:
        made.add_jobs(
            [
                job("old", job_id="11", state="finished", recorded=NOW - 8 * 86400, cause="walltime"),
                job("a", job_id="12", state="finished", recorded=NOW - 5000, **done, **asked, **used),
                job("b", job_id="13", state="finished", name=EVIL, reason="-x\ty\n", **cancelled),
                job("c", job_id="14", state="queued", user="bob", kind="session", site="other"),
                job("d", state=REFUSED, user="bob", reason="no such queue", name="[red]é\x1b[2J"),
            ],
            events=[
                Event(NOW - 5000, "submitted", "a", site="cluster"),
                Event(NOW - 4000, "cancelled", "b", "qdel", "bob", "cluster"),
                Event(NOW - 60, "refused", "d", "no such queue", site="cluster"),
            ],
        )
    return str(file)


def run(place: str, *options: str) -> Result:
    return CliRunner().invoke(ledger, ["--ledger", place, *options], catch_exceptions=False)


def lines(place: str, *options: str) -> list[list[str]]:
    """Return the cells of each line, without the headings."""
    result = run(place, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    return [line.split("\t") for line in result.stdout.splitlines()[1:]]


def ids(place: str, *options: str) -> list[str]:
    return [cells[2] for cells in lines(place, *options)]


def as_json(place: str, *options: str) -> Any:
    return json.loads(run(place, "--json", *options).stdout)


def as_csv(place: str, *options: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run(place, "--csv", "-", *options).stdout)))


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_piped_output_has_columns_with_tabs_between_them(place: str) -> None:
    headings, *rows = run(place).stdout.splitlines()
    assert headings.split("\t")[:4] == ["submitted", "site", "id", "user"]
    assert {line.count("\t") for line in (headings, *rows)} == {11}
    assert [line.split("\t")[2] for line in rows] == ["-", "14", "13", "12", "11"]


def test_a_job_shows_what_it_asked_for_against_what_it_used(place: str) -> None:
    ((*_, state, cores, waited, walltime, cpu, memory),) = lines(place, "--job", "12")
    assert (state, cores, waited) == ("finished: exit 0", "4", "1 min")
    assert (walltime, cpu, memory) == ("20 % of 1 h", "10 % of 4 h", "25 % of 4G")


def test_a_state_says_how_a_job_ended(place: str) -> None:
    assert [cells[6] for cells in lines(place)] == [
        "refused",
        "queued",
        "finished: cancelled by bob",
        "finished: exit 0",
        "finished: walltime",
    ]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--site", "other"], ["14"]),
        (["--user", "alice"], ["13", "12", "11"]),
        (["--kind", "session"], ["14"]),
        (["--state", "queued", "--state", "refused"], ["-", "14"]),
        (["--since", "7d"], ["-", "14", "13", "12"]),
        (["--since", "2020-01-01"], ["-", "14", "13", "12", "11"]),
        (["--limit", "2"], ["-", "14"]),
        (["--job", "a"], ["12"]),
        (["--job", "12", "--limit", "1"], ["12"]),
        (["--user", "nobody"], []),
    ],
)
def test_jobs_are_chosen(place: str, options: list[str], found: list[str]) -> None:
    assert ids(place, *options) == found


def test_json_has_every_field_and_what_was_used(place: str) -> None:
    (found,) = as_json(place, "--job", "12")
    assert found["id"] == "12"
    assert (found["site"], found["state"], found["cause"], found["exit_status"]) == ("cluster", "finished", "exit", 0)
    assert (found["cpu_percent"], found["memory_percent"], found["walltime_percent"]) == (10.0, 25.0, 20.0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["started"])
    assert found["ended"] is None
    assert as_json(place, "--user", "nobody") == []


def test_csv_has_the_same_as_json(place: str) -> None:
    rows, objects = as_csv(place), as_json(place)
    assert [row.keys() for row in rows] == [found.keys() for found in objects]
    assert [row["id"] for row in rows] == [found["id"] for found in objects]
    assert rows[3]["used_memory_bytes"] == str(2**30)


@pytest.mark.parametrize("options", [[], ["--events"], ["--summary"], ["--calibration"]])
def test_csv_without_rows_has_its_first_line(place: str, options: list[str]) -> None:
    full = run(place, "--csv", "-", *options).stdout.splitlines()
    empty = run(place, "--csv", "-", "--user", "nobody", *options).stdout.splitlines()
    assert len(full) > 1
    assert empty == full[:1]


def test_a_spreadsheet_executes_nothing(place: str) -> None:
    (row,) = as_csv(place, "--job", "13")
    assert (row["name"], row["reason"]) == (f"'{EVIL}", "'-x\ty\n")
    cells = [cell for one in as_csv(place) for cell in one.values()]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == []


def test_csv_is_written_to_a_file_as_a_whole(place: str, tmp_path: Path) -> None:
    result = run(place, "--csv", str(tmp_path / "jobs.csv"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "jobs.csv").read_text(encoding="utf-8") == run(place, "--csv", "-").stdout
    assert run(place, "--csv", str(tmp_path / "no" / "jobs.csv")).exit_code == 1


def test_nothing_of_a_job_moves_a_terminals_cursor(place: str) -> None:
    assert not re.search(r"[^\t\n\x20-\x7eé]", run(place).stdout + run(place, "--events").stdout)


# --- events and totals ----------------------------------------------------------------------------------------------


def test_events_tell_what_happened_in_order(place: str) -> None:
    assert [cells[2:] for cells in lines(place, "--events")] == [
        ["a", "submitted", "", ""],
        ["b", "cancelled", "qdel", "bob"],
        ["d", "refused", "no such queue", ""],
    ]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--job", "13"], ["b"]),
        (["--user", "alice"], ["a", "b"]),
        (["--state", "finished", "--limit", "1"], ["b"]),
        (["--since", "1h"], ["d"]),
        (["--limit", "2"], ["b", "d"]),
    ],
)
def test_events_are_chosen_by_their_jobs(place: str, options: list[str], found: list[str]) -> None:
    assert [event["token"] for event in as_json(place, "--events", *options)] == found


def test_the_calibration_says_how_often_starts_were_foreseen(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    foreseen = {"state": "running", "submitted": NOW - 900, "expected_start_low": NOW - 800}
    with Ledger.open(file) as made:
        made.add_jobs(
            [
                job("a", started=NOW - 750, expected_start_high=NOW - 600, **foreseen),
                job("b", started=NOW - 100, expected_start_high=NOW - 500, **foreseen),
                job("c", site="other", state="running", submitted=NOW - 900, started=NOW - 800),
            ]
        )
    assert lines(str(file), "--calibration") == [
        ["cluster", "2", "1", "50 %", "90 %", "4 min 10 s"],
        ["other", "0", "0", "-", "90 %", "-"],
    ]
    (cluster, _) = as_json(str(file), "--calibration")
    assert cluster == {
        "site": "cluster",
        "n": 2,
        "inside": 1,
        "share": 0.5,
        "nominal": 0.9,
        "median_width_s": pytest.approx(250),
    }


def test_a_summary_counts_each_users_jobs(place: str) -> None:
    alice, bob = as_json(place, "--summary")
    assert (alice["user"], alice["jobs"], alice["open"], alice["failed"]) == ("alice", 3, 0, 1)
    assert (alice["asked_core_s"], alice["used_core_s"], alice["cpu_percent"]) == (14400.0, 1440.0, 10.0)
    assert (bob["user"], bob["jobs"], bob["open"], bob["failed"], bob["cpu_percent"]) == ("bob", 2, 1, 1, None)
    assert lines(place, "--summary")[0] == [
        *("alice", "3", "0", "1", "4.00 h", "0.40 h", "10 %", "25 %", "20 %", "1 min"),
    ]


# --- on a screen ----------------------------------------------------------------------------------------------------


def test_on_a_screen_it_is_a_table_of_the_newest(place: str) -> None:
    with Ledger.open(place) as made:
        made.add_jobs([job(f"many-{number}", site="busy", user="carol") for number in range(60)])
    text = on_a_screen("ledger", "--ledger", place)
    assert text.count("carol") == 50
    assert "\t" not in text
    assert "submitting" in text
    assert on_a_screen("ledger", "--ledger", place, "--site", "busy", "--limit", "60").count("carol") == 60
    assert "[red]é [2J" in on_a_screen("ledger", "--ledger", place, "--user", "bob")


def on_a_screen(*arguments: str) -> str:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "200", "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen([SPRINGTIDE, *arguments], stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:
            pass  # A terminal nobody writes to any more ends with an error.
    os.close(ours)
    assert process.returncode == 0
    return shown.decode()


# --- which ledger, and mistakes -------------------------------------------------------------------------------------


def test_the_lab_file_names_the_ledger(place: str, tmp_path: Path) -> None:
    lab = tmp_path / "lab.yaml"
    lab.write_text(yaml.safe_dump({**process_lab(), "hub": {"ledger": f"sqlite:///{place}"}}))
    result = CliRunner().invoke(ledger, ["--lab", str(lab), "--job", "12"], catch_exceptions=False)
    assert result.stdout.splitlines()[1].split("\t")[2] == "12"


def test_without_a_word_it_is_the_state_directorys(place: str, tmp_path: Path) -> None:
    lab = tmp_path / "lab.yaml"
    lab.write_text(yaml.safe_dump({**process_lab(), "hub": {"state_directory": str(Path(place).parent)}}))
    result = CliRunner(env={"SPRINGTIDE_LAB": str(lab)}).invoke(ledger, ["--job", "12"], catch_exceptions=False)
    assert result.stdout.splitlines()[1].split("\t")[2] == "12"


def test_looking_makes_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="There is no ledger"):
        run(str(tmp_path / "new" / "ledger.sqlite"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        ["--since", "yesterday"],
        ["--since", "-1d"],
        ["--limit", "0"],
        ["--state", "asleep"],
        ["--kind", "dream"],
        ["--summary", "--events"],
        ["--summary", "--calibration"],
        ["--json", "--csv", "-"],
    ],
)
def test_a_wrong_option_is_exit_status_2(place: str, options: list[str]) -> None:
    assert run(place, *options).exit_code == 2

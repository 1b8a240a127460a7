"""What PBS Pro and Torque are asked for: each wish in their own words, and nothing that was not wished."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.errors import ScriptError
from springtide.queues.base import Queue
from springtide.queues.commands import run_command
from springtide.queues.model import After, Dependency, JobArray, JobRequest, Mail
from springtide.queues.pbs import header as pbs_header
from springtide.queues.pbs.pro import PbsProQueue
from springtide.queues.pbs.torque import TorqueQueue

PBSPRO = PbsProQueue(Path("/opt/pbs/bin"), run_command)
TORQUE = TorqueQueue(Path("/usr/bin"), run_command)
BOTH = pytest.mark.parametrize("queue", [PBSPRO, TORQUE], ids=["pbspro", "torque"])


def header(queue: Queue, **wishes: Any) -> list[str]:
    return queue.header(JobRequest("true", **{"name": "st-0123456789ab", **wishes}))


def asked(queue: Queue, **wishes: Any) -> set[str]:
    """Return what is asked for beyond a request without wishes."""
    return set(header(queue, **wishes)) - set(header(queue))


def test_the_script_holds_directives_first_and_never_exports_the_environment() -> None:
    request = JobRequest("echo hi", "st-0123456789ab", 2, 2**30, 5400, "long", "lisa", ("-l place=excl",))
    head = PBSPRO.script(request).partition("echo hi")[0].splitlines()
    assert head[0] == "#!/bin/bash -l"
    assert "#PBS -l select=1:ncpus=2:mem=1048576kb:mpiprocs=2" in head
    assert {"#PBS -N st-0123456789ab", "#PBS -q long", "#PBS -A lisa", "#PBS -r n", "#PBS -l place=excl"} <= set(head)
    assert {"#PBS -l walltime=01:30:00", "#PBS -o /dev/null", "#PBS -j oe", "#PBS -m n"} <= set(head)
    assert not any(line.startswith(("#PBS -v", "#PBS -V")) for line in head)


@pytest.mark.parametrize(
    ("wishes", "lines"),
    [
        ({"nodes": 2, "cores": 4, "ranks": 1}, {"-l select=2:ncpus=4:mem=1048576kb:mpiprocs=1", "-l place=scatter"}),
        ({"gpus": 2}, {"-l select=1:ncpus=1:mem=1048576kb:mpiprocs=1:ngpus=2"}),
        ({"memory_bytes": 0}, {"-l select=1:ncpus=1:mpiprocs=1"}),
        ({"memory_bytes": 1}, {"-l select=1:ncpus=1:mem=1kb:mpiprocs=1"}),
        ({"array": JobArray(1, 9)}, {"-J 1-9", "-r y"}),
        ({"array": JobArray(0, 9, 3, at_once=2)}, {"-J 0-9:3%2", "-r y"}),
        ({"array": JobArray(7, 7)}, {"-J 7-8:2", "-r y"}),
        ({"rerunnable": True}, {"-r y"}),
        ({"held": True}, {"-h"}),
        ({"output": "/a/b.log"}, {'-o "/a/b.log"', "-k doe"}),
        ({"output": "/a/b c.log", "errors": "/d"}, {'-o "/a/b c.log"', '-e "/d"', "-k doe"}),
        ({"errors": "/d"}, {'-e "/d"', "-k doe"}),
        ({"output": "/a", "array": JobArray(1, 2)}, {'-o "/a.^array_index^"', "-k doe", "-J 1-2", "-r y"}),
        ({"array": JobArray(1, 2), "errors": "/dev/null"}, {"-e /dev/null", "-J 1-2", "-r y"}),
        ({"dependencies": (Dependency(After.OK, ("1.s", "2[].s")),)}, {"-W depend=afterok:1.s,afterok:2[].s"}),
        (
            {"dependencies": (Dependency(After.FAILURE, ("1",)), Dependency(After.START, ("2",)))},
            {"-W depend=afternotok:1,after:2"},
        ),
        ({"mail": Mail(at_begin=True, at_end=True, at_abort=True)}, {"-m abe"}),
        ({"mail": Mail(("marie@lab.fr", "paul"), at_end=True)}, {"-m e", "-M marie@lab.fr,paul"}),
        ({"mail": Mail()}, set()),
    ],
)
def test_each_wish_is_asked_for_in_the_words_of_pbs_pro(wishes: dict[str, Any], lines: set[str]) -> None:
    assert asked(PBSPRO, **wishes) == lines


@pytest.mark.parametrize(
    ("wishes", "lines"),
    [
        ({"nodes": 2, "cores": 4, "ranks": 1}, {"-l nodes=2:ppn=4", "-l mem=2097152kb"}),
        ({"gpus": 2}, {"-l nodes=1:ppn=1:gpus=2"}),
        ({"array": JobArray(1, 9)}, {"-t 1-9"}),
        ({"array": JobArray(0, 9, 3, at_once=2)}, {"-t 0,3,6,9%2"}),
        ({"array": JobArray(7, 7)}, {"-t 7"}),
        ({"rerunnable": True}, {"-r y"}),
        (
            {"dependencies": (Dependency(After.ANY, ("1.s", "2[].s")), Dependency(After.START, ("3[]",)))},
            {"-W depend=afterany:1.s,afteranyarray:2[].s,afterstartarray:3[]"},
        ),
        ({"output": "/a/b.log", "shell": "/usr/bin/python3"}, {'-o "/a/b.log"'}),
    ],
)
def test_each_wish_is_asked_for_in_the_words_of_torque(wishes: dict[str, Any], lines: set[str]) -> None:
    assert asked(TORQUE, **wishes) == lines


@pytest.mark.parametrize(
    ("wishes", "line"),
    [
        ({}, ""),
        ({"output": "/a/b c.log"}, "exec >'/a/b c.log' 2>&1"),
        ({"output": "/a", "errors": "/b"}, "exec >'/a' 2>'/b'"),
        ({"errors": "/b", "array": JobArray(1, 2)}, "exec >/dev/null 2>'/b'\".$PBS_ARRAYID\""),
        ({"output": "/a", "shell": "/usr/bin/python3"}, ""),
    ],
)
def test_torques_jobs_open_their_logs_themselves(wishes: dict[str, Any], line: str) -> None:
    script = TORQUE.script(JobRequest("BODY", "name", **wishes))
    after_the_head = script[script.index("-S /bin/bash\n") :].splitlines()[1:]
    assert after_the_head == ([line, "BODY"] if line else ["BODY"])


@BOTH
def test_what_is_left_to_the_site_is_not_asked_for(queue: Queue) -> None:
    lines = header(queue, memory_bytes=0, walltime_s=0)
    assert not any("mem" in line or "walltime" in line for line in lines)


def test_a_place_of_the_sites_own_is_not_contradicted() -> None:
    assert "-l place=scatter" not in header(PBSPRO, nodes=2, directives=("-l place=pack",))


@BOTH
def test_a_start_is_told_in_the_time_of_the_machine_and_never_too_early(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = datetime(2026, 7, 14, 12, 0, 0, 250_000, tzinfo=UTC).timestamp()
    monkeypatch.setattr(pbs_header, "machines_zone", lambda: ZoneInfo("Europe/Paris"))
    assert asked(queue, start_after=moment) == {"-a 202607141400.01"}


def test_the_time_of_the_machine_is_not_that_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    here = datetime.fromtimestamp(0, pbs_header.machines_zone()).utcoffset()
    assert here != ZoneInfo("Asia/Tokyo").utcoffset(datetime(1970, 1, 1, tzinfo=UTC))
    monkeypatch.setattr(pbs_header, "_MACHINES_ZONE", tmp_path / "none")
    pbs_header.machines_zone.cache_clear()
    assert pbs_header.machines_zone() is UTC
    pbs_header.machines_zone.cache_clear()


@pytest.mark.parametrize(
    ("name", "pbspro", "torque"),
    [
        ("LISACode-3f9a1c2e", "LISACode-3f9a1c2e", "LISACode-3f9a1c"),
        ("été 2026/β", "ete_2026__", "ete_2026__"),
        ("a\n#PBS -q root\n", "a__PBS_-q_root_", "a__PBS_-q_root_"),
        ('"$(rm)"', "___rm__", "j__rm__"),
        ("-N", "_N", "jN"),
        ("9lives", "9lives", "jlives"),
        ("", "_", "j"),
        ("x" * 300, "x" * 230, "x" * 15),
    ],
)
def test_a_name_is_made_one_that_the_scheduler_takes(name: str, pbspro: str, torque: str) -> None:
    assert header(PBSPRO, name=name)[0] == f"-N {pbspro}"
    assert header(TORQUE, name=name)[0] == f"-N {torque}"


@BOTH
@pytest.mark.parametrize(
    "wishes",
    [
        {"cores": 0},
        {"nodes": -1},
        {"ranks": -1},
        {"gpus": -1},
        {"memory_bytes": -1},
        {"walltime_s": -1},
        {"queue": "long\n#PBS -q root"},
        {"queue": "-h"},
        {"queue": "long short"},
        {"account": 'lisa" -q root'},
        {"account": "lisa;rm"},
        {"output": "relative.log"},
        {"output": "/a\n#PBS -h"},
        {"output": '/a" -h "'},
        {"output": "/a\\"},
        {"output": "/$HOME/a"},
        {"output": "/a'b"},
        {"output": "/é"},
        {"errors": "/a\0"},
        {"shell": "bash"},
        {"shell": "/bin/bash\n#PBS -h"},
        {"shell": ""},
        {"directives": ("-l a=1\n#PBS -h",)},
        {"mail": Mail(("a@b -q root",))},
        {"mail": Mail(("",))},
        {"dependencies": (Dependency(After.OK, ("1 -h",)),)},
        {"dependencies": (Dependency(After.OK, ("",)),)},
        {"array": JobArray(5, 1)},
        {"array": JobArray(-1, 1)},
        {"array": JobArray(1, 5, 0)},
        {"array": JobArray(1, 5, 1, -1)},
    ],
)
def test_what_would_not_stay_in_its_place_is_refused(queue: Queue, wishes: dict[str, Any]) -> None:
    with pytest.raises(ScriptError) as refused:
        queue.script(JobRequest("true", **{"name": "n", **wishes}))
    assert refused.value.message.isprintable()


@BOTH
@settings(deadline=None, max_examples=100)
@given(texts=st.fixed_dictionaries({key: st.text() for key in ("name", "queue", "account", "output", "errors")}))
def test_no_text_adds_a_line(queue: Queue, texts: dict[str, Any]) -> None:
    try:
        script = queue.script(JobRequest("BODY", **texts))
    except ScriptError:
        return
    head = script[: script.index("BODY")].split("\n")[1:]
    assert all(line.startswith(("#PBS -", "exec >")) for line in head if line)
    letters = {line.split()[1].removeprefix("-") for line in head if line.startswith("#PBS")}
    assert letters <= set("NqAlrmoejkS")


@pytest.mark.parametrize(
    ("queue", "own", "lines"),
    [
        (PBSPRO, "-l select=1:ncpus=8:host=n1+2:ncpus=4", set()),
        (PBSPRO, "-l nodes=1:ppn=8:bigmem", {"-l mem=2097152kb"}),
        (TORQUE, "-l nodes=n1:ppn=8+1:ppn=4", {"-l mem=2097152kb"}),
    ],
)
def test_parts_that_a_script_asks_for_itself_are_the_only_ones(queue: Queue, own: str, lines: set[str]) -> None:
    request = JobRequest("true", "x", nodes=2, cores=8, memory_bytes=2**30, walltime_s=60, directives=(own,))
    asked = {line for line in queue.header(request) if line.startswith("-l ")}
    assert asked == {"-l walltime=00:01:00", *lines}
    assert f"#PBS {own}" in queue.script(request)

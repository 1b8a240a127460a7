"""The Torque dialect, on documents written after its manual pages: there is no Torque to record."""

from pathlib import Path

import pytest

from springtide.errors import QueueUnreachable
from springtide.queues.base import JobRequest, JobState
from springtide.queues.commands import run_command
from springtide.queues.torque import TorqueQueue, parse_jobs

JOBS = """<Data><Job><Job_Id>12.head.lab.fr</Job_Id><Job_Name>st-0123456789ab</Job_Name>
<Job_Owner>marie@head</Job_Owner><job_state>R</job_state><queue>batch</queue>
<exec_host>node1.lab.fr/0+node1.lab.fr/1</exec_host></Job>
<Job><Job_Id>13.head.lab.fr</Job_Id><Job_Name>old</Job_Name><Job_Owner>paul@head</Job_Owner>
<job_state>C</job_state><exit_status>271</exit_status><queue>batch</queue></Job>
<Job><Job_Id>14.head.lab.fr</Job_Id><Job_Name>next</Job_Name><job_state>Q</job_state>
<comment>Not Running: not enough procs</comment></Job></Data>"""


def test_jobs_have_states_nodes_and_exit_status() -> None:
    running, ended, waiting = parse_jobs(JOBS)
    assert (running.state, running.nodes, running.owner) == (JobState.RUNNING, ("node1.lab.fr",), "marie")
    assert (ended.state, ended.exit_status) == (JobState.FINISHED, 271)
    assert (waiting.state, waiting.reason) == (JobState.QUEUED, "Not Running: not enough procs")


def test_no_jobs_at_all_is_an_empty_answer() -> None:
    assert list(parse_jobs("")) == []


def test_garbage_is_no_answer() -> None:
    with pytest.raises(QueueUnreachable, match="not XML"):
        list(parse_jobs("qstat: something odd"))


def test_the_script_asks_in_torques_own_words() -> None:
    script = TorqueQueue(Path("/usr/bin"), run_command).script(JobRequest("true", "st-0123456789ab", 4, 2**30, 3600))
    assert "#PBS -l nodes=1:ppn=4\n" in script
    assert "#PBS -l mem=1048576kb\n" in script
    assert "select" not in script

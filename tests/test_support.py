"""The services that the other tests rely on really work, and really end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.support import browser, leaks, logs
from tests.support.accounts import TwoUsers, account
from tests.support.docker_engine import DockerEngine, private_engine
from tests.support.need import require
from tests.support.network import free_ports, http_status
from tests.support.openpbs import OpenPBS
from tests.support.processes import Daemon, descendants, process
from tests.support.slurm import NODES, Slurm
from tests.support.waiting import wait_until

JOB = "#!/bin/sh\nid -un\necho $SLURMD_NODENAME\n"
LONG_JOB = "#!/bin/sh\nsleep 300\n"


# -- what a machine lacks -----------------------------------------------------------------------------


def test_a_missing_part_skips_the_test_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPRINGTIDE_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"needs Slurm: apt-get install slurm-wlm"):
        require("Slurm", None, "apt-get install slurm-wlm")


def test_a_missing_part_fails_the_test_where_nothing_may_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINGTIDE_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="needs Slurm"):
        require("Slurm", None)


def test_openpbs_may_be_missing_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINGTIDE_REQUIRE_ALL", "1")
    with pytest.raises(pytest.skip.Exception, match="needs OpenPBS"):
        require("OpenPBS", None, always_optional=True)


# -- processes and ports ------------------------------------------------------------------------------


def test_a_daemon_ends_with_the_tests_that_started_it_even_when_they_are_killed(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    script = f"""
        import os, pathlib, signal
        from tests.support.processes import Daemon, process
        daemon = Daemon("sleeper", ["sleep", "300"], pathlib.Path({str(log)!r}))
        daemon.start()
        daemon.wait_ready(lambda: process(daemon.pid).command.startswith("sleep"), seconds=10)
        print(daemon.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    tests = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert tests.returncode == -signal.SIGKILL
    wait_until(lambda: process(int(tests.stdout)) is None, 5, "the daemon has ended")


def test_a_daemon_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    daemon = Daemon("broken", ["sh", "-c", "echo no such file >&2; exit 3"], tmp_path / "broken.log")
    daemon.start()
    with pytest.raises(RuntimeError, match=r"broken ended at once\nno such file"):
        daemon.wait_ready(lambda: False, seconds=10)


def test_a_daemon_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    daemon = Daemon("deaf", ["sh", "-c", "trap '' TERM; echo up; sleep 300 & wait; sleep 300"], tmp_path / "deaf.log")
    daemon.start()
    daemon.wait_ready(lambda: "up" in logs.tail(daemon.log), seconds=10)
    children = descendants(daemon.pid)
    assert daemon.stop(seconds=0.2) == -signal.SIGKILL
    for child in children:
        child.kill()


def test_ports_are_given_out_once() -> None:
    assert len(set(free_ports(50))) == 50


def test_nobody_answering_is_status_zero() -> None:
    assert http_status(f"http://127.0.0.1:{free_ports(1)[0]}/") == 0


# -- what tests leave behind --------------------------------------------------------------------------


def test_a_process_left_behind_is_found_even_without_parent_and_environment(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    check = leaks.LeakCheck(folders=[tmp_path])
    orphan = subprocess.run(
        ["sh", "-c", "setsid sleep 300 >/dev/null 2>&1 & echo $!"],
        env={},
        cwd=tmp_path / "home",
        capture_output=True,
        text=True,
        check=True,
    )
    assert ["sleep 300" in text for text in check.leftovers(grace_s=0)] == [True]
    os.kill(int(orphan.stdout), signal.SIGKILL)
    check.check()


def test_a_container_and_a_network_left_behind_are_found(docker_engine: DockerEngine) -> None:
    check = leaks.LeakCheck(folders=[], engine=docker_engine)
    network = docker_engine.client.networks.create("springtide-test-leak")
    try:
        assert "springtide-test-leak" in [text.split()[-1] for text in check.leftovers(grace_s=0)]
    finally:
        network.remove()
    check.check()


def test_a_job_left_behind_is_found(slurm: Slurm) -> None:
    check = leaks.LeakCheck(folders=[], slurm=slurm)
    job = slurm.run(["sbatch", "--parsable", "--job-name=left", "--output=/dev/null"], stdin=LONG_JOB).stdout.strip()
    assert any(text.startswith(f"job {job} of") for text in check.leftovers(grace_s=0))
    slurm.cancel_all()
    check.check()


def test_a_passing_test_leaves_nothing(nothing_left: leaks.LeakCheck) -> None:
    assert nothing_left.leftovers(grace_s=0) == []


# -- Docker -------------------------------------------------------------------------------------------


def test_the_docker_engine_answers(docker_engine: DockerEngine) -> None:
    assert docker_engine.client.version()["Os"] == "linux"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an engine of our own")
def test_a_second_engine_starts_beside_the_machines_own_and_ends_with_its_containerd(tmp_path: Path) -> None:
    interfaces = _network_interfaces()
    with private_engine(tmp_path) as engine:
        assert engine.started_here
        assert engine.environment == {"DOCKER_HOST": engine.url}
        assert engine.client.containers.list(all=True) == []
        place = str(Path(engine.url.removeprefix("unix://")).parent)
        started = {one for one in descendants(os.getpid()) if place in one.command}
        assert {one.command.split()[0].rpartition("/")[2] for one in started} == {"dockerd", "containerd"}
        assert _network_interfaces() == interfaces
    assert [one.command for one in started if process(one.pid) == one] == []


def _network_interfaces() -> set[str]:
    """Return the machine's own: not those that come and go with containers."""
    return {name for name in os.listdir("/sys/class/net") if not name.startswith("veth")}


# -- Slurm --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "submit",
    [
        ["sbatch", "--parsable", "--output=job.o%j", "job.sh"],
        ["qsub", "-N", "job", "-l", "nodes=1:ppn=2,mem=200mb,walltime=00:05:00", "-j", "oe", "job.sh"],
        ["qsub", "-N", "job", "-q", "short", "-l", "select=1:ncpus=1:mem=100mb", "-j", "oe", "job.sh"],
    ],
    ids=["sbatch", "qsub of Torque", "qsub of PBS Pro"],
)
def test_a_job_of_an_ordinary_user_runs_as_that_user(slurm: Slurm, two_users: TwoUsers, submit: list[str]) -> None:
    alice = two_users.alice
    alice.run("sh", "-c", f"printf '%s' '{JOB}' >job.sh")
    job = slurm.run(submit, alice).stdout.strip()
    assert slurm.wait_for(job, "COMPLETED", "FAILED").state == "COMPLETED"
    name, node = (alice.home / f"job.o{job}").read_text().split()
    assert name == alice.name
    assert node in NODES


def test_the_pbs_commands_show_and_delete_a_job(slurm: Slurm, two_users: TwoUsers) -> None:
    bob = two_users.bob
    bob.run("sh", "-c", f"printf '%s' '{LONG_JOB}' >long.sh")
    job = slurm.run(["qsub", "-q", "batch", "long.sh"], bob).stdout.strip()
    slurm.wait_for(job, "RUNNING")
    shown = slurm.run(["qstat", "-f", job]).stdout
    assert "job_state = R" in shown
    assert f"exec_host = {NODES[0]}/1" in shown
    slurm.run(["qdel", job], bob)
    assert slurm.wait_for(job, "CANCELLED").reason == "None"


def test_a_job_beyond_the_partition_is_refused(slurm: Slurm) -> None:
    refused = slurm.run(
        ["sbatch", "--partition=short", "--time=01:00:00", "--output=/dev/null"], stdin=LONG_JOB, check=False
    )
    assert refused.returncode != 0
    assert "time limit" in refused.stderr


def test_jobs_outlive_the_controller(slurm: Slurm) -> None:
    job = slurm.run(["sbatch", "--parsable", "--output=/dev/null"], stdin=LONG_JOB).stdout.strip()
    slurm.wait_for(job, "RUNNING")
    slurm.stop_controller()
    unanswered = slurm.run(["squeue"], check=False)
    assert unanswered.returncode != 0
    assert "Unable to contact slurm controller" in unanswered.stderr
    slurm.start_controller()
    assert slurm.wait_for(job, "RUNNING").id == job
    slurm.cancel_all()
    assert slurm.jobs() == []


# -- accounts, OpenPBS --------------------------------------------------------------------------------


def test_the_two_users_cannot_read_each_others_homes(two_users: TwoUsers) -> None:
    assert account(two_users.alice.name) == two_users.alice
    assert two_users.alice.run("ls", str(two_users.alice.home)).returncode == 0
    refused = two_users.bob.run("ls", str(two_users.alice.home), check=False)
    assert "Permission denied" in refused.stderr


def test_openpbs_tells_its_version(openpbs: OpenPBS) -> None:
    assert openpbs.version
    assert "server_state" in openpbs.run(["qstat", "-Bf"]).stdout


# -- browser ------------------------------------------------------------------------------------------


class _Greeter(BaseHTTPRequestHandler):
    """Greets in the browser's language, by a script."""

    def do_GET(self) -> None:
        language = self.headers.get("Accept-Language", "")[:2]
        words = {"fr": "Marée de vive-eau"}.get(language, "Spring tide")
        body = f"<meta charset=utf-8><h1 id=it></h1><script>it.textContent={words!r};console.log('drawn')</script>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def greeter() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Greeter)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_chromium_renders_a_page(page: Page, greeter: str) -> None:
    await page.goto(greeter)
    await expect(page.get_by_role("heading", name="Spring tide")).to_be_visible()
    # With no font at all, text would take no room.
    box = await page.locator("h1").bounding_box()
    assert box
    assert box["height"] > 20


async def test_each_person_has_a_language_and_evidence_is_kept(
    new_page: browser.Desk, greeter: str, tmp_path: Path
) -> None:
    for language in ("en-GB", "fr-FR"):
        page = await new_page(language)
        await page.goto(greeter)
    await new_page.keep_evidence(tmp_path, "tests/test_x.py::test_it[a/b]")
    assert "Marée" in (tmp_path / "tests-test_x.py-test_it-a-b-.2.html").read_text()
    assert (tmp_path / "tests-test_x.py-test_it-a-b-.1.png").read_bytes().startswith(b"\x89PNG")
    assert new_page.messages == ["log: drawn", "log: drawn"]

"""``springtide up``: how it starts, what it refuses, and that nothing it started is left or lost when it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from springtide.hub.state import StateDirectory
from tests.e2e.labs import container_lab, process_lab, slurm_lab
from tests.support import logs
from tests.support.docker_engine import DockerEngine
from tests.support.hub import SPRINGTIDE, RunningHub
from tests.support.leaks import LeakCheck
from tests.support.network import free_ports, http_status
from tests.support.processes import Process, all_processes, process
from tests.support.waiting import wait_until

PROFILE = {"profile": "process"}
DOWN_S = 20


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder that users without account may pass; at its end nothing that ran there is left."""
    folder = Path(tempfile.mkdtemp(prefix="springtide-up-", dir="/tmp"))
    folder.chmod(0o711)
    check = LeakCheck(folders=[folder])
    try:
        yield folder
        check.check()
    finally:
        for left in running_in(folder):
            left.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def platform(folder: Path) -> Iterator[Callable[..., RunningHub]]:
    """Yield what makes a platform that is not yet started; it is stopped at the end."""
    hubs: list[RunningHub] = []

    def make(*options: str, hub: Mapping[str, Any] | None = None) -> RunningHub:
        hubs.append(RunningHub({**process_lab(), "hub": dict(hub or {})}, folder, command=(SPRINGTIDE, "up", *options)))
        return hubs[-1]

    logs.show_on_failure("platform", lambda: [path for hub in hubs[-1:] for path in hub.logs])
    yield make
    for hub in reversed(hubs):
        hub.stop()
    logs.forget("platform")


def running_in(folder: Path) -> list[Process]:
    return [one for one in all_processes() if one.pid != os.getpid() and one.mentions(f"{folder}/")]


def up(lab: Path, state: Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``springtide up`` where it is expected to end by itself."""
    return subprocess.run(
        [SPRINGTIDE, "up", "--lab", str(lab), "--state", str(state)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def lab_file(folder: Path, lab: Mapping[str, Any]) -> Path:
    ports = dict(zip(("port", "api_port", "proxy_api_port"), free_ports(3), strict=True))
    file = folder / "other.yaml"
    file.write_text(yaml.safe_dump({**lab, "hub": {**ports, **lab.get("hub", {})}}))
    return file


def hub_of(lab: Path) -> dict[str, int]:
    found: dict[str, int] = yaml.safe_load(lab.read_text())["hub"]
    return found


# --- what does not start --------------------------------------------------------------------------------------------


def test_a_wrong_lab_file_starts_nothing(folder: Path) -> None:
    lab = folder / "lab.yaml"
    lab.write_text("springtide: 1\nsites: {a: {kind: locale}}\nprofiles: [{name: x, site: a}]\n")
    done = up(lab, folder / "state")
    assert done.returncode == 2
    assert f"{lab}:2: sites.a.kind" in done.stderr
    assert done.stdout == ""
    assert not (folder / "state").exists()


def test_a_lab_file_that_is_not_there_is_said(folder: Path) -> None:
    done = up(folder / "nowhere.yaml", folder / "state")
    assert done.returncode == 2
    assert "nowhere.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_batch_site_without_commands_is_named_and_nothing_left(folder: Path) -> None:
    (folder / "empty").mkdir()
    lab = lab_file(folder, slurm_lab(commands=str(folder / "empty")))
    done = up(lab, folder / "state")
    assert done.returncode == 1
    assert "Site “cluster”: No batch commands of slurm were found" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "state" / "run" / "up.json").exists()
    assert running_in(folder) == []


@pytest.mark.parametrize("key", ["port", "api_port"])
def test_a_port_that_somebody_has_is_named_and_nothing_left(folder: Path, key: str) -> None:
    lab = lab_file(folder, process_lab())
    port = hub_of(lab)[key]
    with socket.create_server(("127.0.0.1", port)):
        done = up(lab, folder / "state")
    assert done.returncode == 1
    assert f"Port {port} of 127.0.0.1 cannot be used: Address already in use." in done.stderr
    assert f"hub.{key} in the lab file" in done.stderr
    assert running_in(folder) == []


# --- two of them ----------------------------------------------------------------------------------------------------


def test_a_second_start_names_the_first_and_leaves_it_alone(platform: Callable[..., RunningHub]) -> None:
    first = platform().start()
    before = first.processes()
    done = up(first.lab_file, first.state)
    pid = json.loads((first.state / "run" / "up.json").read_text())["pid"]
    assert done.returncode == 1
    assert f"process {pid}, {first.url}" in done.stderr
    assert "--state" in done.stderr
    # The same ports with another state directory: the first one's hub is not taken for the second's.
    done = up(first.lab_file, first.folder / "other")
    assert done.returncode == 1
    assert "cannot be used: Address already in use." in done.stderr
    assert "is up" not in done.stdout
    assert first.processes() == before
    assert http_status(f"{first.url}/hub/login") == 200


# --- files ----------------------------------------------------------------------------------------------------------


def test_secrets_are_closed_and_stand_in_no_log(platform: Callable[..., RunningHub]) -> None:
    hub = platform().start()
    session = hub.start_session("carol", PROFILE)
    token = session.run_code("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    with hub.login("carol") as visitor:
        visitor.get("/hub/home").raise_for_status()
    with pytest.raises(RuntimeError):
        hub.login("dave", "wrong-password-of-dave")
    modes = {file.name: file.stat().st_mode & 0o777 for file in (hub.state / "run").iterdir() if file.is_file()}
    modes.pop("up.lock")
    assert set(modes.values()) == {0o600}
    assert {"up.json", "password", "admin-token", "proxy-token", "cookie-secret"} <= modes.keys()
    folders = (".", "homes", "run", "logs", "environments")
    found = [(hub.state / folder).stat().st_mode & 0o777 for folder in folders]
    assert found == [0o711, 0o711, 0o700, 0o700, 0o755]
    assert StateDirectory(hub.state).database.stat().st_mode & 0o777 == 0o600

    secret = {token, hub.token_of("carol"), "wrong-password-of-dave"}
    secret |= {(hub.state / "run" / name).read_text().strip() for name in modes if name not in ("up.json", "instance")}
    written = "".join(file.read_text(errors="replace") for file in (hub.state / "logs").iterdir())
    assert "JupyterHub is now running" in written
    assert not [one for one in secret if one in written]
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [one for one in secret if one in shown]


# --- what dies ------------------------------------------------------------------------------------------------------


def test_a_killed_proxy_is_back_within_seconds_with_all_sessions(platform: Callable[..., RunningHub]) -> None:
    hub = platform().start()
    session = hub.start_session("carol", PROFILE)
    kernel = session.start_kernel()
    session.run_in(kernel, "kept = 41")
    former = hub.proxy_pid
    os.kill(former, signal.SIGKILL)
    begun = time.monotonic()
    wait_until(lambda: http_status(f"{session.url}api") == 200, 20, "the session is reachable again", interval=0.2)
    assert time.monotonic() - begun < 15
    assert "42" in session.run_in(kernel, "print(kept + 1)")
    wait_until(lambda: hub.proxy_pid != former, 10, "the summary names the new proxy")
    assert "The proxy ended (exit status -9); it is started again" in hub.output


def test_a_killed_supervisor_takes_hub_and_proxy_along_and_the_next_finds_the_session(
    platform: Callable[..., RunningHub],
) -> None:
    hub = platform().start()
    session = hub.start_session("carol", PROFILE)
    kernel = session.start_kernel()
    session.run_in(kernel, "kept = 41")
    summary = json.loads((hub.state / "run" / "up.json").read_text())
    os.kill(summary["pid"], signal.SIGKILL)
    # The next start comes at once, as a service manager's would: it waits for the ports.
    hub.stop()
    again = platform(hub=hub_of(hub.lab_file)).start()
    assert process(summary["hub_pid"]) is None
    assert process(summary["proxy_pid"]) is None
    wait_until(lambda: "42" in session.run_in(kernel, "print(kept + 1)"), 30, "the kernel answers again")
    again.stop_session("carol")


# --- the end --------------------------------------------------------------------------------------------------------


def test_a_service_manager_stops_sessions_hub_and_proxy(platform: Callable[..., RunningHub]) -> None:
    hub = platform().start()
    hub.start_session("carol", PROFILE).start_kernel()
    os.kill(json.loads((hub.state / "run" / "up.json").read_text())["pid"], signal.SIGTERM)
    wait_until(lambda: not hub.is_running, DOWN_S, "it has ended")
    assert hub.stop() == 0
    assert "Stopped." in hub.output
    assert not (hub.state / "run" / "up.json").exists()
    wait_until(lambda: running_in(hub.folder) == [], 3, "nothing is left")


def test_a_second_ctrl_c_leaves_the_sessions_for_the_next_start(platform: Callable[..., RunningHub]) -> None:
    hub = platform().start()
    hub.start_session("carol", PROFILE)
    session = hub.start_session("dave", PROFILE)
    servers = [one for one in running_in(hub.folder) if "jupyterhub.singleuser" in one.command]
    for server in servers:
        server.kill(signal.SIGSTOP)  # so that stopping takes long
    pid = json.loads((hub.state / "run" / "up.json").read_text())["pid"]
    os.kill(pid, signal.SIGINT)
    wait_until(lambda: "2 sessions to stop" in hub.output, 10, "it has begun")
    os.kill(pid, signal.SIGINT)
    wait_until(lambda: not hub.is_running, DOWN_S, "it has ended")
    assert hub.stop() == 0
    assert "the next start finds them" in hub.output
    assert [one for one in servers if process(one.pid) != one] == []
    for server in servers:
        server.kill(signal.SIGCONT)
    again = platform(hub=hub_of(hub.lab_file)).start()
    assert "3" in session.run_code("print(1 + 2)")
    again.stop_session("dave")


def test_sessions_that_are_kept_are_found_by_the_next_start(platform: Callable[..., RunningHub]) -> None:
    hub = platform("--keep-sessions").start()
    password = hub.password
    session = hub.start_session("carol", PROFILE)
    kernel = session.start_kernel()
    session.run_in(kernel, "kept = 41")
    assert hub.stop() == 0
    left = {one.command.split()[-1] for one in running_in(hub.folder) if "singleuser" in one.command}
    assert left == {"jupyterhub.singleuser"}
    again = platform(hub=hub_of(hub.lab_file)).start()
    assert again.password == password
    assert "42" in session.run_in(kernel, "print(kept + 1)")
    assert again.stop() == 0


def test_ctrl_c_before_it_is_up_leaves_nothing(folder: Path) -> None:
    lab = lab_file(folder, process_lab())
    with (folder / "out").open("wb") as out:
        started = subprocess.Popen(
            [SPRINGTIDE, "up", "--lab", str(lab), "--state", str(folder / "state")], stdout=out, stderr=out
        )
        wait_until(lambda: any("jupyterhub" in one.command for one in running_in(folder)), 20, "the hub starts")
        started.send_signal(signal.SIGINT)
        assert started.wait(DOWN_S) == 1
    assert "Interrupted before it was up." in (folder / "out").read_text()
    assert running_in(folder) == []


def test_ctrl_c_while_an_image_is_built_is_not_kept_waiting(folder: Path, docker_engine: DockerEngine) -> None:
    recipe = folder / "recipe"
    recipe.mkdir()
    (recipe / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n#: waiting\nRUN sleep 123\n")
    lab = lab_file(folder, {**container_lab(), "environments": {"base": {"folder": str(recipe)}}})
    command = [SPRINGTIDE, "up", "--lab", str(lab), "--state", str(folder / "state")]
    with (folder / "out").open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as started:
        wait_until(lambda: "waiting" in (folder / "out").read_text(), 200, "the build has begun", interval=0.2)
        started.send_signal(signal.SIGINT)
        assert started.wait(DOWN_S) == 1
    assert "Interrupted before it was up." in (folder / "out").read_text()

    def still_built() -> bool:
        containers = docker_engine.client.containers.list()
        return any("sleep 123" in str(one.attrs.get("Config", {}).get("Cmd")) for one in containers)

    wait_until(lambda: not still_built(), 20, "the engine has given up the build", interval=0.5)


# --- idle sessions --------------------------------------------------------------------------------------------------


def test_an_idle_session_is_stopped_and_a_busy_one_is_not(platform: Callable[..., RunningHub]) -> None:
    hub = platform(hub={"idle_timeout": "10s"}).start()
    busy, idle = (hub.start_session(user, PROFILE) for user in ("busy", "idle"))
    # One computes without a word and without a browser, the other has a kernel that does nothing.
    idle.start_kernel()
    kernel = busy.start_kernel()
    with pytest.raises(TimeoutError):
        busy.run_in(kernel, "import time; time.sleep(600)", seconds=2)
    wait_until(lambda: servers_of(hub, "idle") == {}, 40, "the idle session is stopped", interval=0.5)
    time.sleep(15)  # the busy one has seemed idle for long, too
    assert servers_of(hub, "busy")[""]["ready"]


def servers_of(hub: RunningHub, user: str) -> dict[str, Any]:
    found: dict[str, Any] = hub.api("GET", f"users/{user}").json()["servers"]
    return found

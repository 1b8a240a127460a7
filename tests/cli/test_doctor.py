"""``springtide doctor`` on parts that are there, are missing, or are broken."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from springtide.cli.doctor import doctor
from springtide.cli.env_cache import convert
from springtide.environments.registry.reference import Reference
from springtide.environments.registry.transfer import push
from springtide.hub.process import unreadable_python
from tests.clouds.unreal import FLAVOURS
from tests.e2e.labs import container_lab, process_lab, slurm_lab
from tests.support.accounts import TwoUsers
from tests.support.apptainer import apptainer_folder
from tests.support.docker_engine import DockerEngine
from tests.support.network import free_ports
from tests.support.openstack.running import running_cloud
from tests.support.registry import RunningRegistry, tiny_image
from tests.support.slurm import Slurm


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder that users without account may pass, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="springtide-doctor-", dir="/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def no_docker(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have the engine's socket there and nobody behind it."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "docker.sock"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/docker.sock")


def run(folder: Path, lab: Mapping[str, Any], *options: str) -> Result:
    ports = dict(zip(("port", "api_port", "proxy_api_port"), free_ports(3), strict=True))
    file = folder / "lab.yaml"
    file.write_text(yaml.safe_dump({**lab, "hub": {**ports, **lab.get("hub", {})}}))
    command = ["--lab", str(file), "--state", str(folder / "state"), *options]
    return CliRunner(env={"COLUMNS": "250"}).invoke(doctor, command, catch_exceptions=False)


def examine(folder: Path, lab: Mapping[str, Any], *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the exit status, and the findings by what they are about."""
    result = run(folder, lab, "--json", *options)
    return result.exit_code, {finding["subject"]: finding for finding in json.loads(result.stdout)}


def broken(findings: Mapping[str, Mapping[str, str]]) -> set[str]:
    return {subject for subject, finding in findings.items() if finding["state"] == "broken"}


def optional(lab: dict[str, Any]) -> dict[str, Any]:
    for site in lab["sites"].values():
        site["optional"] = True
    return lab


# --- the hub itself -------------------------------------------------------------------------------------------------


def test_where_all_is_well_nothing_is_to_be_done(folder: Path) -> None:
    status, findings = examine(folder, process_lab())
    if os.geteuid() == 0 and unreadable_python():
        assert (status, broken(findings)) == (1, {"installation"})
        return
    assert (status, broken(findings)) == (0, set())
    assert findings["machine"]["message"] == "processes of this machine"
    assert sum(subject.startswith("port ") for subject in findings) == 3


def test_the_table_says_what_how_and_what_to_do(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run(folder, {**process_lab(), "hub": {"port": port}})
    assert result.exit_code == 1
    (line,) = (line for line in result.stdout.splitlines() if f"port {port}" in line)
    assert line.split("  ")[0] == f"port {port} for browsers"
    assert "broken" in line
    assert "Address already in use" in line
    assert "Choose another port in the lab file." in line
    assert result.stdout.splitlines()[0].split() == ["what", "state", "found", "what", "to", "do"]


@pytest.mark.parametrize("key", ["port", "api_port", "proxy_api_port"])
def test_each_port_is_tried(folder: Path, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, findings = examine(folder, {**process_lab(), "hub": {key: port}})
    assert status == 1
    assert any(subject.startswith(f"port {port} ") for subject in broken(findings))


def test_what_a_killed_platform_wrote_does_not_excuse_a_taken_port(folder: Path) -> None:
    (folder / "state" / "run").mkdir(parents=True)
    (folder / "state" / "run" / "up.json").write_text("{}")
    (folder / "state" / "run" / "up.lock").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, findings = examine(folder, {**process_lab(), "hub": {"port": port}})
    assert (status, findings[f"port {port} for browsers"]["state"]) == (1, "broken")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's hub runs sessions as itself")
def test_homes_that_their_users_cannot_reach_are_found(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o700)
    status, findings = examine(folder, process_lab(), "--state", str(folder / "closed" / "state"))
    assert status == 1
    assert str(folder / "closed") in findings["state directory"]["message"]


def test_a_wrong_lab_file_is_exit_status_2(folder: Path) -> None:
    (folder / "lab.yaml").write_text("springtide: 1\nsites: {a: {kind: locale}}\nprofiles: [{name: x, site: a}]\n")
    result = CliRunner().invoke(doctor, ["--lab", str(folder / "lab.yaml"), "--json"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "sites.a.kind" in result.stderr


def test_a_site_that_is_not_in_the_lab_file_is_exit_status_2(folder: Path) -> None:
    result = run(folder, process_lab(), "--site", "moon")
    assert result.exit_code == 2
    assert "it has machine" in result.stderr


def test_one_site_alone_can_be_asked_about(folder: Path) -> None:
    lab = process_lab()
    lab["sites"]["second"] = {"kind": "local", "runtime": "host"}
    assert examine(folder, lab, "--site", "second")[1].keys() == {"second"}


# --- Docker ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_docker")
def test_an_engine_that_is_missing_is_broken_unless_it_is_optional(folder: Path) -> None:
    status, findings = examine(folder, container_lab(), "--site", "containers")
    assert (status, findings["containers"]["state"]) == (1, "broken")
    assert "docker.sock" in findings["containers"]["message"]
    assert "systemctl start docker" in findings["containers"]["hint"]
    status, findings = examine(folder, optional(container_lab()), "--site", "containers")
    assert (status, findings["containers"]["state"]) == (0, "absent")


def test_no_engine_at_all_says_how_to_get_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/nowhere.sock")
    _, findings = examine(folder, container_lab(), "--site", "containers")
    assert "There is no Docker Engine" in findings["containers"]["message"]
    assert "apt install docker.io" in findings["containers"]["hint"]


def test_an_image_that_is_missing_is_named(folder: Path, docker_engine: DockerEngine) -> None:
    lab = container_lab() | {"environments": {"base": {"image": "springtide/nowhere:1"}}}
    status, findings = examine(folder, lab, "--site", "containers")
    assert (status, findings["containers"]["state"]) == (1, "ok")
    image = findings["containers: image base"]
    assert (image["state"], image["message"]) == ("broken", "springtide/nowhere:1 is missing")
    assert "springtide up" in image["hint"]


class BrokenEngine(BaseHTTPRequestHandler):
    """Says who it is and breaks off at anything else, as an engine that crashes does."""

    def do_GET(self) -> None:
        if self.path.endswith(("/_ping", "/version")):
            body = b'{"ApiVersion": "1.41", "Version": "1"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


def test_an_engine_that_breaks_off_is_a_finding_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/broken.sock")
    with socketserver.ThreadingUnixStreamServer(str(folder / "broken.sock"), BrokenEngine) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            status, findings = examine(folder, container_lab(), "--site", "containers")
        finally:
            server.shutdown()
            thread.join()
    assert (status, findings["containers"]["state"]) == (1, "broken")
    assert "broke off" in findings["containers"]["message"]


# --- batch queues ---------------------------------------------------------------------------------------------------


def test_commands_that_are_missing_are_broken_unless_they_are_optional(folder: Path) -> None:
    lab = slurm_lab(commands=str(folder))
    status, findings = examine(folder, lab, "--site", "cluster")
    assert (status, findings["cluster"]["state"]) == (1, "broken")
    assert f"No batch commands of slurm were found in {folder}" in findings["cluster"]["message"]
    assert findings["cluster"]["hint"]
    status, findings = examine(folder, optional(lab), "--site", "cluster")
    assert (status, findings["cluster"]["state"]) == (0, "absent")


def test_a_schedulers_words_with_brackets_are_shown_as_they_are(folder: Path) -> None:
    for program in ("sbatch", "squeue", "sinfo"):
        (folder / program).write_text("#!/bin/sh\necho 'error: [/etc/slurm] of [red] node[1-3]' >&2\nexit 1\n")
        (folder / program).chmod(0o755)
    result = run(folder, slurm_lab(commands=str(folder)), "--site", "cluster")
    assert result.exit_code == 1
    assert "error: [/etc/slurm] of [red] node[1-3]" in result.stdout


@pytest.fixture
def cluster(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    return slurm


def test_a_cluster_that_works_tells_its_cores_and_whose_jobs(folder: Path, cluster: Slurm, two_users: TwoUsers) -> None:
    alice = two_users.alice.name
    status, findings = examine(folder, slurm_lab(), "--site", "cluster", "--user", alice)
    assert (status, broken(findings)) == (0, set())
    assert findings["cluster"]["message"] == "slurm commands in /usr/bin"
    assert findings["cluster: nodes"]["message"].startswith("8 of 8 cores free")
    assert findings[f"cluster: account {alice}"]["message"] == f"jobs run as {alice} (root becomes them)"


def test_an_account_that_is_missing_is_named(folder: Path, cluster: Slurm) -> None:
    status, findings = examine(folder, slurm_lab(), "--site", "cluster", "--user", "marie")
    assert (status, broken(findings)) == (1, {"cluster: account marie"})
    assert "no account “marie”" in findings["cluster: account marie"]["message"]


def test_a_home_that_cannot_be_written_is_found(folder: Path, cluster: Slurm, two_users: TwoUsers) -> None:
    bob = two_users.bob
    bob.home.chmod(0o500)
    try:
        status, findings = examine(folder, slurm_lab(), "--site", "cluster", "--user", bob.name)
    finally:
        bob.home.chmod(0o700)
    assert (status, broken(findings)) == (1, {f"cluster: account {bob.name}"})


def test_a_profile_that_no_node_could_run_is_named(folder: Path, cluster: Slurm) -> None:
    lab = slurm_lab()
    lab["profiles"][0]["cpus"] = 64
    status, findings = examine(folder, lab, "--site", "cluster")
    assert (status, broken(findings)) == (1, {"cluster: nodes"})
    assert "“batch” asks for 64 cores; the largest node has 4" in findings["cluster: nodes"]["message"]


@pytest.fixture
def with_containers(folder: Path, docker_engine: DockerEngine, registry: RunningRegistry) -> dict[str, Any]:
    """Return a lab whose nodes run sessions in an image of two megabytes."""
    with tiny_image(docker_engine.client, "doctor:1", "in the image\n") as name:
        sent = push(
            docker_engine.client, name, Reference(registry.host, "test/doctor", "1"), registry.access, lambda line: None
        )
    lab = slurm_lab(runtime="apptainer", image_form="folder", runtime_program=str(apptainer_folder() / "apptainer"))
    lab["profiles"][0]["environment"] = "tools"
    lab["environments"] = {"tools": {"image": str(sent.reference)}}
    return {**lab, "registries": registry.lab, "images": {"folder": str(folder / "images")}}


def test_a_container_is_run_on_a_node_and_what_is_wrong_there_is_said(
    folder: Path, cluster: Slurm, two_users: TwoUsers, with_containers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = two_users.alice
    asked = ("--site", "cluster", "--user", alice.name)
    status, findings = examine(folder, with_containers, *asked)
    image = findings["cluster: image tools"]
    assert (status, image["state"], image["message"]) == (0, "absent", "not converted yet")
    assert "springtide env convert tools" in image["hint"]

    monkeypatch.setenv("PATH", f"{apptainer_folder()}{os.pathsep}{os.environ['PATH']}")
    file = folder / "lab.yaml"
    done = CliRunner().invoke(convert, ["tools", "--form", "folder", "--lab", str(file)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    status, findings = examine(folder, with_containers, *asked)
    assert (status, broken(findings)) == (0, set())
    assert "a container of apptainer runs on " in findings["cluster: image tools"]["message"]
    assert not list((alice.home / ".springtide").glob("*.log"))

    with_containers["sites"]["cluster"]["runtime_program"] = "/nowhere/apptainer"
    status, findings = examine(folder, with_containers, *asked)
    assert (status, broken(findings)) == (1, {"cluster: image tools"})
    assert "/nowhere/apptainer: No such file" in findings["cluster: image tools"]["message"]
    assert "runtime_program" in findings["cluster: image tools"]["hint"]
    assert [job for job in cluster.jobs() if job.state in ("PENDING", "RUNNING")] == []


def test_a_scheduler_that_is_down_is_told_from_one_that_is_missing(folder: Path, cluster: Slurm) -> None:
    cluster.stop_controller()
    try:
        status, findings = examine(folder, slurm_lab(), "--site", "cluster")
        optional_status, _ = examine(folder, optional(slurm_lab()), "--site", "cluster")
    finally:
        cluster.start_controller()
    assert (status, broken(findings)) == (1, {"cluster"})
    assert "the scheduler does not answer" in findings["cluster"]["message"]
    assert "Start the scheduler" in findings["cluster"]["hint"]
    assert optional_status == 0


def test_a_cloud_of_this_machine_is_tried_and_what_it_lacks_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = {"kind": "qemu", "maximum_machines": 2, "directory": str(folder / "clouds")}
    lab = {**process_lab(), "sites": {**process_lab()["sites"], "burst": site}}
    found = {one["subject"]: one for one in json.loads(run(folder, lab, "--site", "burst", "--json").output)}
    assert found["burst"]["state"] == "ok"
    assert found["burst: machines"]["message"] == "0 of at most 2 there"
    monkeypatch.setattr("springtide.clouds.qemu.programs.SYSTEM_PATH", "")
    monkeypatch.setenv("PATH", "")
    (missing,) = json.loads(run(folder, lab, "--site", "burst", "--json").output)
    assert missing["state"] == "broken"
    assert "qemu-system-x86_64 is missing" in missing["message"]
    assert "apt install qemu-system-x86" in missing["hint"]


def test_an_openstack_cloud_is_tried_and_what_it_lacks_is_named(folder: Path) -> None:
    with running_cloud(folder, FLAVOURS) as nova:
        small = {"cores": 2, "memory": "1G"}
        site: dict[str, Any] = {"kind": "openstack", "cloud": "lab-cloud", "image": "base", "network": "lab"}
        site |= {"clouds_file": str(nova.settings.clouds_file)}
        site |= {"flavours": {"large": {"cores": 4, "memory": "8G"}}}
        status, found = examine(folder, with_cloud(site), "--site", "burst")
        assert (status, broken(found)) == (0, set())
        assert found["burst"]["message"] == "the OpenStack cloud lab-cloud answers"
        assert found["burst: machines"]["message"] == "0 of at most 4 there"

        site |= {"image": "sessions", "key_name": "bob", "flavours": {"huge": small, "small": small}}
        status, found = examine(folder, with_cloud(site), "--site", "burst")
        assert status == 1
        parts = {"image sessions", "key pair bob", "flavour huge", "flavour small"}
        assert broken(found) == {f"burst: {part}" for part in parts}
        assert found["burst: image sessions"]["message"] == "The cloud lab-cloud has no image “sessions”."
        assert found["burst: image sessions"]["hint"] == "There are: base."
        assert "has 1 cores and 1G: less than the lab file says" in found["burst: flavour small"]["message"]

    status, found = examine(folder, with_cloud(site), "--site", "burst")
    assert (status, list(found)) == (1, ["burst"])
    assert "lab-cloud did not answer" in found["burst"]["message"]
    status, found = examine(folder, with_cloud(site | {"optional": True}), "--site", "burst")
    assert (status, found["burst"]["state"]) == (0, "absent")


def with_cloud(site: dict[str, Any]) -> dict[str, Any]:
    return {**process_lab(), "sites": {**process_lab()["sites"], "burst": site}}

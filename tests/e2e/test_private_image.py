"""A private image on a real platform: members run it, others are told no, and its password shows nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from springtide.environments.build import build
from springtide.environments.catalog import shipped
from tests.e2e.labs import SMALL
from tests.support.docker_engine import DockerEngine
from tests.support.hub import RunningHub, shared_hub
from tests.support.leaks import LeakCheck
from tests.support.processes import all_processes
from tests.support.registry import RunningRegistry

TAG = "private"


@pytest.fixture(scope="module")
def image(docker_engine: DockerEngine, registry: RunningRegistry) -> Iterator[str]:
    """Yield the private image: the session image under a name of the registry, as if it had been pulled."""
    build(shipped()["base"], print)
    name = f"{registry.host}/lpf/ltpda"
    docker_engine.client.images.get(shipped()["base"].image).tag(name, TAG)
    yield f"{name}:{TAG}"
    docker_engine.client.images.remove(f"{name}:{TAG}")


@pytest.fixture(scope="module")
def hub(
    docker_engine: DockerEngine, registry: RunningRegistry, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningHub]:
    lab = {
        "springtide": 1,
        "environments": {"lpf": {"image": image, "groups": ["lpf"]}},
        "registries": registry.lab,
        "authentication": {"admins": ["boss"]},
        "sites": {"containers": {"kind": "local", "runtime": "docker"}},
        "profiles": [
            {"name": "open", "site": "containers", **SMALL},
            {"name": "pathfinder", "site": "containers", "environment": "lpf", **SMALL},
        ],
    }
    check = LeakCheck(folders=[tmp_path_factory.getbasetemp()], engine=docker_engine)
    with shared_hub(lab, tmp_path_factory.mktemp("hub")) as running:
        for user in ("mia", "otto"):
            running.api("POST", f"users/{user}").raise_for_status()
        running.api("POST", "groups/lpf", "boss").raise_for_status()
        running.api("POST", "groups/lpf/users", "boss", json={"users": ["mia"]}).raise_for_status()
        yield running
        running.stop_all_sessions()
    instance = (running.state / "run" / "instance").read_text().strip()
    for volume in docker_engine.client.volumes.list():
        if instance in volume.name:
            volume.remove()
    check.check()


# The first run builds the session image.
@pytest.mark.timeout(1200)
def test_a_member_runs_it_and_its_password_shows_nowhere(
    hub: RunningHub, docker_engine: DockerEngine, registry: RunningRegistry, image: str
) -> None:
    session = hub.start_session("mia", {"profile": "pathfinder"})
    environment = session.run_code("import os, json; print(json.dumps(dict(os.environ)))")
    (container,) = (one for one in docker_engine.client.containers.list() if image in one.attrs["Config"]["Image"])
    login = registry.access.login(registry.host)
    assert login
    places = {
        "docker inspect": json.dumps(container.attrs),
        "docker inspect of the image": json.dumps(docker_engine.client.images.get(image).attrs),
        "the session": environment,
        "logs": "".join(log.read_text(errors="replace") for log in hub.logs),
        "the registry's log": (registry.server.folder / "registry.log").read_text(),
    }
    assert [place for place, text in places.items() if login.password in text] == []
    assert not [one.command for one in all_processes() if one.mentions(login.password)]
    ledger = b"".join(file.read_bytes() for file in hub.state.glob("ledger.sqlite*"))
    assert login.password.encode() not in ledger


@pytest.mark.timeout(1200)
def test_anyone_else_is_refused_on_every_path(hub: RunningHub) -> None:
    answer = hub.api("POST", "users/otto/servers/", "otto", json={"profile": "pathfinder"})
    assert answer.status_code == 400
    assert "There is no profile “pathfinder”. The profiles open to you are: open." in answer.json()["message"]
    places = hub.api("GET", "springtide/places", "otto").json()["profiles"]
    assert [place["profile"] for place in places] == ["open"]
    with hub.login("otto") as otto:
        page = otto.get("/hub/spawn").text
        assert 'value="open"' in page
        assert "pathfinder" not in page
        refused = otto.submit("/hub/spawn", {"profile": "pathfinder"})
        assert "There is no profile" in refused.text
    with hub.login("mia") as mia:
        assert 'value="pathfinder"' in mia.get("/hub/spawn/mia/second").text

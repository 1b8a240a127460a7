"""Container sessions on a real Docker Engine: hardened, apart from each other, and gone when they are over."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.conftest import StartHub
from tests.e2e.labs import container_lab
from tests.support.docker_engine import DockerEngine
from tests.support.hub import RunningHub, shared_hub
from tests.support.kernels import SessionClient
from tests.support.leaks import LeakCheck
from tests.support.waiting import wait_until

PROBE = """
import json, os, pathlib, socket
def readable(path): return os.access(path, os.R_OK)
def reaches(host, port):
    try:
        socket.create_connection((host, port), 2).close()
    except OSError:
        return False
    return True
status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())
def writes(folder):
    try:
        (pathlib.Path(folder) / '.probe').write_text('x')
    except OSError:
        return False
    return True
"""


@pytest.fixture(scope="module")
def images(docker_engine: DockerEngine) -> None:
    """Build the session image if this machine lacks it, as ``make images`` does."""
    from springtide.environments.build import build
    from springtide.environments.catalog import shipped

    build(shipped()["base"], print)


@pytest.fixture(scope="module")
def hub(docker_engine: DockerEngine, images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """Yield one platform for all tests of this module; at its end nothing may be left of any of them."""
    check = LeakCheck(folders=[tmp_path_factory.getbasetemp()], engine=docker_engine)
    with shared_hub(container_lab(), tmp_path_factory.mktemp("hub")) as hub:
        yield hub
    instance = (hub.state / "run" / "instance").read_text().strip()
    for volume in docker_engine.client.volumes.list():
        if instance in volume.name:
            volume.remove()
    check.check()


@pytest.fixture(autouse=True)
def sessions_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the next test an empty platform."""
    yield
    if "hub" in request.fixturenames:
        request.getfixturevalue("hub").stop_all_sessions()


def of(hub: RunningHub, user: str) -> dict[str, str | bool | list[str]]:
    """Return the filter for this hub's containers and networks of `user`: the engine may serve others too."""
    instance = (hub.state / "run" / "instance").read_text().strip()
    return {"label": [f"springtide.user={user}", f"springtide.instance={instance}"]}


def ask(session: SessionClient, expression: str) -> object:
    return json.loads(session.run_code(f"{PROBE}\nprint(json.dumps({expression}))"))


def test_a_session_is_held_in_its_place(hub: RunningHub, docker_engine: DockerEngine) -> None:
    session = hub.start_session("alice", {"profile": "container", "cpus": 1, "memory": "512M"})
    found = ask(
        session,
        "{'uid': os.getuid(), 'caps': [status[k].strip() for k in ('CapEff', 'CapPrm', 'CapBnd', 'CapAmb')],"
        " 'no_new_privileges': status['NoNewPrivs'].strip(), 'seccomp': status['Seccomp'].strip(),"
        " 'root': writes('/etc') or writes('/opt') or writes('/usr'), 'home': writes('/home/jovyan'),"
        " 'tmp': writes('/tmp'), 'tutorials': [readable('/srv/tutorials'), writes('/srv/tutorials')],"
        " 'docker': os.path.exists('/var/run/docker.sock') or os.path.exists('/run/docker.sock')}",
    )
    assert found == {
        "uid": 1000,
        "caps": ["0000000000000000"] * 4,
        "no_new_privileges": "1",
        "seccomp": "2",
        "root": False,
        "home": True,
        "tmp": True,
        "tutorials": [True, False],
        "docker": False,
    }
    (container,) = docker_engine.client.containers.list(filters=of(hub, "alice"))
    limits = container.attrs["HostConfig"]
    assert (limits["Memory"], limits["MemorySwap"]) == (2**29, 2**29)
    assert limits["CpuQuota"] == 100_000
    assert limits["PidsLimit"] == 1024


def test_no_session_reaches_anothers_port(hub: RunningHub, docker_engine: DockerEngine) -> None:
    hub.start_session("bob", {"profile": "container"})
    (bob,) = docker_engine.client.containers.list(filters=of(hub, "bob"))
    (network,) = bob.attrs["NetworkSettings"]["Networks"].values()
    alice = hub.start_session("alice", {"profile": "container"})
    reached = ask(
        alice,
        f"[reaches({network['IPAddress']!r}, 8888), reaches('127.0.0.1', 8888)]",
    )
    assert reached == [False, True]
    api = ask(alice, "os.environ['JUPYTERHUB_API_URL']")
    assert isinstance(api, str)
    host, port = api.split("/")[2].split(":")
    proxy_api = json.loads((hub.state / "run" / "up.json").read_text())["url"].rsplit(":", 1)[1]
    assert ask(alice, f"[reaches({host!r}, {port}), reaches({host!r}, {proxy_api}), reaches({host!r}, 22)]") == [
        True,
        False,
        False,
    ]


def test_two_sessions_of_one_user_share_a_network_and_leave_none(hub: RunningHub, docker_engine: DockerEngine) -> None:
    hub.start_session("alice", {"profile": "container"})
    hub.start_session("alice", {"profile": "container"}, name="second")

    def networks() -> int:
        return len(docker_engine.client.networks.list(filters=of(hub, "alice")))

    assert networks() == 1
    hub.stop_session("alice")
    assert networks() == 1
    hub.stop_session("alice", "second")
    assert networks() == 0


def test_the_home_is_kept_from_one_session_to_the_next(hub: RunningHub) -> None:
    hub.start_session("alice", {"profile": "container"}).run_code("open('kept.txt', 'w').write('yes')")
    hub.stop_session("alice")
    again = hub.start_session("alice", {"profile": "container"})
    assert again.run_code("print(open('kept.txt').read())").strip() == "yes"


def test_a_kernel_killed_for_memory_is_explained(hub: RunningHub) -> None:
    session = hub.start_session("alice", {"profile": "container", "memory": "512M"})
    kernel = session.start_kernel()
    with pytest.raises((TimeoutError, OSError)):
        session.run_in(kernel, "data = bytearray(900 * 2**20)", seconds=15)
    with hub.login("alice") as visitor:
        wait_until(
            lambda: "more than its 512M of memory" in visitor.get("/hub/home").text, 30, "the home page says why"
        )


def test_a_killed_container_is_noticed_and_explained(hub: RunningHub, docker_engine: DockerEngine) -> None:
    hub.start_session("alice", {"profile": "container"})
    (container,) = docker_engine.client.containers.list(filters=of(hub, "alice"))
    container.kill()
    with hub.login("alice") as visitor:
        wait_until(lambda: "was killed from outside" in visitor.get("/hub/home").text, 40, "the home page says why")
    assert not docker_engine.client.containers.list(all=True, filters=of(hub, "alice"))


def test_a_killed_hub_loses_no_session(hub: RunningHub) -> None:
    session = hub.start_session("alice", {"profile": "container"})
    kernel = session.start_kernel()
    session.run_in(kernel, "kept = 41")
    hub.wait_hub_restarted(hub.kill_hub())
    wait_until(lambda: "42" in session.run_in(kernel, "print(kept + 1)"), 60, "the kernel answers again")


def test_a_container_that_no_session_explains_is_swept_away(hub: RunningHub, docker_engine: DockerEngine) -> None:
    session = hub.start_session("alice", {"profile": "container"})
    (container,) = docker_engine.client.containers.list(filters=of(hub, "alice"))
    labels = {**container.labels, "springtide.user": "bob"}
    stray = docker_engine.client.containers.create(container.attrs["Image"], ["sleep", "600"], labels=labels)
    stray.start()
    hub.wait_hub_restarted(hub.kill_hub())
    wait_until(
        lambda: not docker_engine.client.containers.list(all=True, filters={"id": stray.id or ""}),
        60,
        "the stray is gone",
    )
    assert "2" in session.run_code("print(1 + 1)")


def test_a_profile_that_leaves_the_lab_file_takes_no_session_with_it(
    hub: RunningHub, docker_engine: DockerEngine
) -> None:
    session = hub.start_session("alice", {"profile": "container"})
    lab = hub.lab_file.read_text()
    hub.lab_file.write_text(lab.replace("name: container", "name: other"))
    hub.wait_hub_restarted(hub.kill_hub())
    wait_until(lambda: "2" in session.run_code("print(1 + 1)"), 60, "the session answers again")
    assert hub.api("POST", "users/carol").ok
    assert hub.api("POST", "users/carol/server", json={"profile": "container"}).status_code == 400
    hub.stop_session("alice")
    assert not docker_engine.client.containers.list(all=True, filters=of(hub, "alice"))
    hub.lab_file.write_text(lab)
    hub.wait_hub_restarted(hub.kill_hub())


def test_ctrl_c_and_a_second_start_find_users_homes_and_password(hub: RunningHub) -> None:
    hub.start_session("alice", {"profile": "container"}).run_code("open('kept.txt', 'w').write('yes')")
    password = hub.password
    begun = time.monotonic()
    assert hub.stop() == 0
    assert time.monotonic() - begun < 40
    hub.start()
    assert hub.password == password
    assert (
        hub.start_session("alice", {"profile": "container"}).run_code("print(open('kept.txt').read())").strip() == "yes"
    )


def test_a_missing_image_is_said_on_the_page(
    nothing_left: LeakCheck, docker_engine: DockerEngine, start_hub: StartHub
) -> None:
    hub = start_hub(container_lab() | {"environments": {"base": {"image": "springtide/nowhere:1"}}})
    answer = hub.api("POST", "users/alice", "")
    answer = hub.api("POST", "users/alice/server", "alice", json={"profile": "container"})
    assert answer.status_code == 500
    assert "is not on this machine yet" in answer.text

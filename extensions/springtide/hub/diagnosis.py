"""Tries each site for real: whether its engine or queue answers, the image is there, and whose account would run."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import docker
import docker.errors
import requests

from springtide.environments.at_home import closed_folder
from springtide.environments.catalog import resolve
from springtide.environments.engine import connect, engine_elsewhere, image_digest
from springtide.errors import EngineError, QueueError, SpringtideError
from springtide.hub.diagnosis_clouds import examine_cloud
from springtide.hub.diagnosis_containers import examine_containers
from springtide.hub.findings import Finding as Finding
from springtide.hub.process import unreadable_python
from springtide.hub.reach import address_to_set, bind_error, hub_address
from springtide.hub.state import StateDirectory
from springtide.lab.models import BatchSite, Lab, LocalSite
from springtide.queues.accounts import UserQueue, account_of
from springtide.queues.base import Queue
from springtide.queues.detect import Found, find_scheduler, open_queue
from springtide.queues.model import Capacity
from springtide.units import format_memory

_ENGINE_FAILURES = (docker.errors.DockerException, requests.RequestException)


def look_for_places(lab: Lab) -> list[Finding]:
    """Return, for each site, whether it is there: what ``springtide up`` says before it starts."""
    return [_place(lab, name) for name in lab.sites]


def examine(lab: Lab, state: Path, *, only: str = "", user: str = "") -> list[Finding]:
    """Return everything that was tried, for the hub itself and for each site.

    Parameters
    ----------
    only : str, optional
        A single site to look at.
    user : str, optional
        Whose account to try; default: who runs this.
    """
    who = user or pwd.getpwuid(os.geteuid()).pw_name
    findings = [] if only else list(_examine_hub(lab, state))
    for name in lab.sites:
        if only in ("", name):
            findings += _examine_site(lab, name, who, state)
    for name in lab.clouds:
        if only in ("", name):
            findings += examine_cloud(lab, name, state)
    return findings


# --- the hub itself -------------------------------------------------------------------------------------------------


def _examine_hub(lab: Lab, state: Path) -> Iterable[Finding]:
    running = StateDirectory(state).in_use()
    hub = lab.hub
    for what, address, port in (
        ("browsers", hub.address, hub.port),
        ("the hub's API", hub_address(lab), hub.api_port),
        ("the proxy's API", "127.0.0.1", hub.proxy_api_port),
    ):
        yield _port(what, address, port, running)
    existing = next(folder for folder in (state, *state.parents) if folder.exists())
    hint = "Name another with --state or hub.state_directory."
    if not os.access(existing, os.W_OK):
        yield Finding("state directory", "broken", f"{state} cannot be written", hint)
    elif _has_homes(lab) and (closed := closed_folder(existing / "homes")) and closed != str(state):
        yield Finding("state directory", "broken", f"other accounts cannot reach their homes in {closed}", hint)
    else:
        yield Finding("state directory", "ok", str(state))
    folder = unreadable_python() if os.geteuid() == 0 else ""
    if folder:
        hint = "Install Springtide where all may read, such as /opt/springtide."
        yield Finding("installation", "broken", f"other accounts cannot enter {folder}", hint)
    elif os.geteuid() == 0:
        yield Finding("installation", "ok", "other accounts can run it")
    if lab.authentication.kind == "pam" and os.geteuid() != 0:
        hint = "Run the hub as root, or add its account to the group shadow."
        yield Finding("authentication", "broken", "PAM can only check this account's own password", hint)
    else:
        yield Finding("authentication", "ok", lab.authentication.kind)


def _has_homes(lab: Lab) -> bool:
    """Whether users without an account get homes that they have to reach as somebody else than the hub."""
    sites = lab.sites.values()
    return os.geteuid() == 0 and any(isinstance(site, LocalSite) and site.runtime == "host" for site in sites)


def _port(what: str, address: str, port: int, running: bool) -> Finding:
    subject = f"port {port} for {what}"
    words = bind_error(address, port)
    if not words:
        return Finding(subject, "ok", "free")
    if running:
        return Finding(subject, "ok", "in use by Springtide, which is running")
    return Finding(subject, "broken", words, "Choose another port in the lab file.")


# --- sites ----------------------------------------------------------------------------------------------------------


def _place(lab: Lab, name: str) -> Finding:
    site = lab.sites[name]
    if isinstance(site, BatchSite):
        return _place_of_queue(lab, name, site)
    return _find_engine(name, site)[0] if site.runtime == "docker" else _host(name)


def _place_of_queue(lab: Lab, name: str, site: BatchSite) -> Finding:
    finding, found = _find_queue(name, site)
    if found is None:
        return finding
    back = _tried(name, name, lambda: _way_back(lab, site, open_queue(found)))
    return finding if back.state == "ok" else replace(back, message=f"{finding.message}, but {back.message}")


def _examine_site(lab: Lab, name: str, user: str, state: Path) -> list[Finding]:
    site = lab.sites[name]
    if isinstance(site, BatchSite):
        return _examine_queue(lab, name, site, user, state)
    return _examine_engine(lab, name, site) if site.runtime == "docker" else [_host(name)]


def _host(name: str) -> Finding:
    return Finding(name, "ok", "processes of this machine", site=name, kind="host")


def _missing(name: str, site: LocalSite | BatchSite, kind: str, message: str, hint: str) -> Finding:
    return Finding(name, "absent" if site.optional else "broken", message, hint, site=name, kind=kind)


def _find_engine(name: str, site: LocalSite) -> tuple[Finding, docker.DockerClient | None]:
    if other := engine_elsewhere():
        message = f"DOCKER_HOST names an engine on {other}; sessions need one of this machine"
        return _missing(name, site, "docker", message, "Unset DOCKER_HOST, or run the hub on that machine."), None
    try:
        client = connect()
    except EngineError as error:
        return _missing(name, site, "docker", error.message, error.hint), None
    try:
        info = client.info()
    except _ENGINE_FAILURES as error:
        client.close()
        return _missing(name, site, "docker", f"The Docker Engine broke off: {error}", "See its log."), None
    size = f"{info.get('NCPU')} cores, {format_memory(info.get('MemTotal', 0))}"
    return Finding(name, "ok", f"Docker Engine {info.get('ServerVersion')}, {size}", site=name, kind="docker"), client


def _examine_engine(lab: Lab, name: str, site: LocalSite) -> list[Finding]:
    finding, client = _find_engine(name, site)
    if client is None:
        return [finding]
    try:
        wanted = {profile.environment for profile in lab.profiles if profile.site == name}
        recipes = [recipe for key, recipe in resolve(lab).items() if key in wanted]
        return [finding, *(_examine_image(client, name, recipe.name, recipe.image) for recipe in recipes)]
    finally:
        client.close()


def _examine_image(client: docker.DockerClient, site: str, environment: str, image: str) -> Finding:
    subject = f"{site}: image {environment}"
    if image_digest(client, image) is None:
        return Finding(subject, "broken", f"{image} is missing", "Run “make images”, or “springtide up”.", site=site)
    try:
        client.containers.run(
            image, ["true"], remove=True, network_mode="none", cap_drop=["ALL"], read_only=True, user="1000:1000"
        )
    except _ENGINE_FAILURES as error:
        return Finding(subject, "broken", f"a container of {image} does not run: {error}", site=site)
    return Finding(subject, "ok", f"{image}; a container of it runs", site=site)


def _find_queue(name: str, site: BatchSite) -> tuple[Finding, Found | None]:
    try:
        found = asyncio.run(find_scheduler(site))
    except QueueError as error:
        return _missing(name, site, "batch", error.message, error.hint), None
    where = f"{found.dialect} commands in {found.folder}"
    if not found.answers:
        hint = "Start the scheduler, or check its configuration; sessions there are unavailable meanwhile."
        message = f"{where}, but the scheduler does not answer: {found.words.splitlines()[0]}"
        return _missing(name, site, "batch", message, hint), None
    return Finding(name, "ok", where, site=name, kind="batch"), found


def _examine_queue(lab: Lab, name: str, site: BatchSite, user: str, state: Path) -> list[Finding]:
    finding, found = _find_queue(name, site)
    if found is None:
        return [finding]
    queue = open_queue(found)
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("nodes", lambda: _nodes(lab, name, asyncio.run(queue.capacity()))),
        ("way back to the hub", lambda: _way_back(lab, site, queue)),
        (f"account {user}", lambda: _account(UserQueue(queue, account_of(user, site.accounts)))),
    )
    if user == "root":
        hint = "Name an ordinary account with --user."
        checks, untried = checks[:-1], [Finding(f"{name}: account", "absent", "not tried", hint, site=name)]
    else:
        untried = []
    findings = [finding, *(_tried(f"{name}: {what}", name, check) for what, check in checks), *untried]
    if site.runtime != "host" and not untried and all(one.state == "ok" for one in findings):
        findings += examine_containers(lab, name, UserQueue(queue, account_of(user, site.accounts)), state)
    return findings


def _tried(subject: str, site: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, "ok", check(), site=site)
    except SpringtideError as error:
        return Finding(subject, "broken", error.message, error.hint, site=site)


def _nodes(lab: Lab, name: str, capacity: Capacity) -> str:
    """Return what the nodes have; a profile that asks for more than any of them has could never start."""
    for profile in (one for one in lab.profiles if one.site == name):
        if profile.cpus.min > capacity.largest_node_cores:
            raise QueueError(
                f"the profile “{profile.name}” asks for {profile.cpus.min:g} cores; "
                f"the largest node has {capacity.largest_node_cores}.",
                "Lower its cpus in the lab file.",
            )
    return f"{capacity.free_cores} of {capacity.total_cores} cores free, {capacity.waiting_jobs} jobs wait"


def _way_back(lab: Lab, site: BatchSite, queue: Queue) -> str:
    async def look() -> str:
        return await address_to_set(lab, site, queue, await queue.capacity())

    address = asyncio.run(look())
    if address:
        raise QueueError("the nodes are other machines and cannot call the hub.", f"Set hub.api_address: {address}")
    return "the nodes reach the hub's API"


def _account(user_queue: UserQueue) -> str:
    answer = asyncio.run(user_queue.check())
    if not answer["home_writable"]:
        raise QueueError(f"{answer['user']} cannot write to their home folder.", "Sessions keep their log there.")
    way = {"same": "the hub's own account", "setuid": "root becomes them", "sudo": "through sudo and the launcher"}
    return f"jobs run as {answer['user']} ({way[user_queue.account.way]})"

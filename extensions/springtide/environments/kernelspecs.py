"""Kernelspecs that appear by themselves: the lab's environments as kernels, for the sessions of one account.

A session without a container is offered the image of each environment under a runtime that its own account may use,
and a kernel as a batch job at each site where it may submit; the provisioner ``springtide`` starts them. Private
environments are offered to their groups only. What an account is offered lies in a folder that no other can read.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from springtide.environments.catalog import SESSION, EnvironmentRecipe
from springtide.environments.engine import DEFAULT_SOCKET, connect, image_digest, socket_of_engine
from springtide.environments.host import host_python
from springtide.lab.models import BatchSite, Lab, Profile
from springtide.lab.profiles import closed_environments, site_label, visible_profiles
from springtide.texts import translate

PROVISIONER = "springtide"
_KERNELSPEC = Path("kernelspec", "kernel.json")
_LAUNCHER = ("-m", "ipykernel_launcher", "-f", "{connection_file}")
_SESSION_PYTHON = "/opt/session/bin/python"
_PIDS = 1024


@dataclass(frozen=True)
class Viewer:
    """Whose sessions the kernels are offered to, and what one of them may take."""

    uid: int
    gid: int
    groups: frozenset[str]
    """In the hub's words."""
    language: str
    cores: float
    memory_bytes: int

    @property
    def account(self) -> str:
        """Its name on this machine; empty for a number without one."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return ""

    def may_write(self, path: Path) -> bool:
        """Whether this account, rather than the one that asks, may read and write `path`."""
        try:
            found = path.stat()
        except OSError:
            return False
        groups = os.getgrouplist(self.account, self.gid) if self.account else [self.gid]
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid in groups else 0
        return self.uid == 0 or (stat.S_IMODE(found.st_mode) >> shift) & 0o6 == 0o6


@dataclass(frozen=True)
class Offer:
    """One kernelspec."""

    name: str
    display_name: str
    argv: Sequence[str]
    environment: str
    config: Mapping[str, Any]
    """Of the provisioner."""
    variables: Mapping[str, str]
    pictures: Path | None = None
    """Folder with its logos."""

    def as_json(self) -> dict[str, Any]:
        """Return its ``kernel.json``."""
        return {
            "argv": list(self.argv),
            "display_name": self.display_name,
            "language": "python",
            "interrupt_mode": "message",
            "env": dict(self.variables),
            "metadata": {
                "debugger": True,
                "springtide": {"environment": self.environment},
                "kernel_provisioner": {"provisioner_name": PROVISIONER, "config": dict(self.config)},
            },
        }


def images_on_engine(recipes: Iterable[EnvironmentRecipe]) -> dict[str, str]:
    """Return the digest of each environment's image that this machine's engine has.

    Raises
    ------
    EngineError
        If it does not answer.
    """
    client = connect()
    try:
        digests = {recipe.name: image_digest(client, recipe.image) for recipe in recipes}
    finally:
        client.close()
    return {name: digest for name, digest in digests.items() if digest}


def may_use_engine(viewer: Viewer) -> bool:
    """Whether the account may use this machine's engine by itself: a session is never given that right."""
    path = socket_of_engine()
    return path is not None and viewer.may_write(path)


def offers_in_containers(
    lab: Lab, recipes: Mapping[str, EnvironmentRecipe], digests: Mapping[str, str], viewer: Viewer
) -> list[Offer]:
    """Return a kernel for each image in `digests` that is open to `viewer`; none without the right to start it."""
    if not may_use_engine(viewer):
        return []
    closed = closed_environments(lab, viewer.groups)
    engine = socket_of_engine()
    variables = {} if engine == DEFAULT_SOCKET else {"DOCKER_HOST": f"unix://{engine}"}
    limits = {"cores": viewer.cores, "memory": str(viewer.memory_bytes), "processes": _PIDS}
    offers = []
    for name in sorted(digests.keys() & recipes.keys() - closed):
        label = recipes[name].label.in_language(viewer.language)
        config = {"environment": name, "runtime": "docker", "digest": digests[name], "place": digests[name], **limits}
        offers.append(
            Offer(
                name=f"{name}-docker",
                display_name=translate(viewer.language, "kernels.in_container", environment=label),
                argv=_argv_in_image(recipes[name]),
                environment=name,
                config=config,
                variables=variables,
                pictures=_pictures(recipes[name]),
            )
        )
    return offers


def offers_as_jobs(lab: Lab, recipes: Mapping[str, EnvironmentRecipe], host_root: Path, viewer: Viewer) -> list[Offer]:
    """Return a kernel for each profile at a batch site that is open to `viewer`.

    None for an account without a name, which no scheduler knows, nor for environments that are not made on this
    machine: nodes run what its file system has.
    """
    offers = []
    for profile in visible_profiles(lab, viewer.groups) if viewer.account else ():
        site, recipe = lab.sites[profile.site], recipes.get(profile.environment)
        python = _python_on_nodes(site, recipe, host_root) if recipe and isinstance(site, BatchSite) else ""
        if not isinstance(site, BatchSite) or not recipe or not python or not _submits_itself(site, viewer):
            continue
        label = recipe.label.in_language(viewer.language)
        where = site_label(lab, profile.site, viewer.language)
        offers.append(
            Offer(
                name=f"{profile.name}-job",
                display_name=translate(viewer.language, "kernels.as_job", environment=label, site=where),
                argv=(python, *_LAUNCHER),
                environment=recipe.name,
                config=_job_config(profile, site),
                variables={},
                pictures=_pictures(recipe),
            )
        )
    return offers


def publish(offers: Sequence[Offer], root: Path, viewer: Viewer) -> Path | None:
    """Write kernelspecs for `viewer`; return the folder for JUPYTER_PATH, None without any.

    The folder's name tells its content: it is written once, whole, and then belongs to the account.

    Parameters
    ----------
    root : Path
        Folder of the hub's; it may be new.
    """
    if not offers:
        return None
    content = [(offer.name, offer.as_json()) for offer in offers]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    folder = root.absolute() / f"{viewer.uid}-{digest}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o711)
        beside = Path(tempfile.mkdtemp(dir=root, prefix=".new-"))
        try:
            _write(offers, beside)
            # Last of all: before, it cannot have been led elsewhere by a link.
            _hand_over(beside, viewer)
            beside.rename(folder)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            if not folder.is_dir():  # else another session of the account was quicker
                raise
    return folder


def _write(offers: Sequence[Offer], folder: Path) -> None:
    for offer in offers:
        kernel = folder / "kernels" / offer.name
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text(json.dumps(offer.as_json(), indent=2, ensure_ascii=False), encoding="utf-8")
        for picture in sorted(offer.pictures.glob("logo-*")) if offer.pictures else ():
            shutil.copyfile(picture, kernel / picture.name)


def _hand_over(folder: Path, viewer: Viewer) -> None:
    entries = [folder, *folder.rglob("*")]
    for entry in entries:
        entry.chmod(0o700 if entry.is_dir() else 0o600)
    if viewer.uid != os.geteuid():
        for entry in reversed(entries):
            os.chown(entry, viewer.uid, viewer.gid, follow_symlinks=False)


def _argv_in_image(recipe: EnvironmentRecipe) -> list[str]:
    if recipe.folder is not None and (recipe.folder / _KERNELSPEC).is_file():
        declared: list[str] = json.loads((recipe.folder / _KERNELSPEC).read_text(encoding="utf-8"))["argv"]
        return declared
    # An image that is only pulled says nothing of its kernels.
    return [_SESSION_PYTHON if recipe.name == SESSION and recipe.folder else "python3", *_LAUNCHER]


def _pictures(recipe: EnvironmentRecipe) -> Path | None:
    return recipe.folder / _KERNELSPEC.parent if recipe.folder else None


def _python_on_nodes(site: BatchSite, recipe: EnvironmentRecipe, host_root: Path) -> str:
    """Return the environment's Python where nodes see it too; empty where there is none."""
    if recipe.name == SESSION:
        return site.python or sys.executable
    found = host_python(recipe, host_root)
    return str(found) if found and not site.python else ""


def _submits_itself(site: BatchSite, viewer: Viewer) -> bool:
    """Whether jobs at the site are submitted as the session's own account."""
    return site.accounts != "hub" or viewer.uid == os.geteuid()


def _job_config(profile: Profile, site: BatchSite) -> dict[str, Any]:
    described = site.model_dump(mode="json", exclude_defaults=True, exclude={"label", "optional", "api_address"})
    return {
        "environment": profile.environment,
        "runtime": "host",
        "cores": profile.cpus.default,
        "memory": str(profile.memory.default),
        "walltime": str(profile.walltime.default if profile.walltime else ""),
        "queue": profile.queues[0] if profile.queues else "",
        "site": {"name": profile.site, "kind": site.kind, **described},
    }

"""The packages of an image of this machine's engine: listed by running it once, and kept by its digest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import docker

from springtide.environments import inventory
from springtide.environments.engine import image_digest
from springtide.environments.packages import Packages
from springtide.environments.trial import NOT_FOUND, Trial, run_in
from springtide.errors import EnvironmentsError

_LAST_LINES = 5
# A list of another form than today's is not read.
_FORM = 1


def packages_of(client: docker.DockerClient, image: str) -> Packages:
    """Return the packages of `image`; those without any Python have no list but an empty one.

    Raises
    ------
    EnvironmentsError
        If the engine does not have it, or it does not run.
    """
    digest = image_digest(client, image)
    if digest is None:
        raise EnvironmentsError(
            f"There is no image {image} on this machine.",
            "Build or pull it: springtide env build, springtide env pull.",
        )
    kept = _kept(digest)
    try:
        return Packages.from_json(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        packages = _listed(client, image)
    _keep(kept, packages)
    return packages


def _listed(client: docker.DockerClient, image: str) -> Packages:
    program = Path(inventory.__file__).read_text(encoding="utf-8")
    outcome = run_in(client, image, Trial(("python3", "-c", program)))
    if outcome.status == NOT_FOUND:
        return Packages()
    try:
        return Packages.from_json(json.loads(outcome.output))
    except (ValueError, LookupError, TypeError, AttributeError):
        said = "\n".join(outcome.errors.splitlines()[-_LAST_LINES:])
        raise EnvironmentsError(f"The packages of {image} cannot be listed. Its last words:\n{said}") from None


def _kept(digest: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "springtide" / "packages"
    return cache / f"{digest.replace(':', '-')}-{_FORM}.json"


def _keep(file: Path, packages: Packages) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_text(json.dumps(packages.as_json()), encoding="utf-8")
    os.replace(beside, file)

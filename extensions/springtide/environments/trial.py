"""Runs a command in an image once, with a session's limits and no network, and returns how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests

from springtide.errors import EnvironmentsError

NOT_FOUND = 127
"""Status of a command that the image does not have."""

_LABEL = "springtide.trial"
# Those of a container session (springtide.hub.container), and no network, which no environment may need.
_LIMITS: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {
        "/tmp": "rw,nosuid,nodev,size=512m,mode=1777",
        "/home/jovyan": "rw,exec,size=512m,uid=1000,gid=1000,mode=0755",
    },
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "user": "1000:1000",
    "pids_limit": 1024,
    "mem_limit": "2g",
    "memswap_limit": "2g",
    "init": True,
    "network_mode": "none",
}


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    output: str
    errors: str


@dataclass(frozen=True)
class Trial:
    """What to run in an image."""

    command: Sequence[str]
    mounts: Mapping[Path, str] = field(default_factory=dict)
    """Folders of this machine, read-only, by where they are seen."""
    seconds: float = 60


def run_in(client: docker.DockerClient, image: str, trial: Trial) -> Outcome:
    """Run `trial` in `image` and return how it ended; nothing of it stays.

    Raises
    ------
    EnvironmentsError
        If it cannot be started, or does not end in time.
    """
    volumes = {str(folder): {"bind": place, "mode": "ro"} for folder, place in trial.mounts.items()}
    try:
        container = client.containers.create(
            image, list(trial.command), entrypoint=[], volumes=volumes, labels={_LABEL: "1"}, **_LIMITS
        )
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EnvironmentsError(f"No container of {image} can be made: {error}") from error
    try:
        return _outcome(container, trial)
    except docker.errors.APIError as error:
        if "executable file not found" in str(error) or "no such file or directory" in str(error):
            return Outcome(NOT_FOUND, "", f"{trial.command[0]}: not found")
        raise EnvironmentsError(f"A container of {image} does not run: {error}") from error
    except requests.exceptions.RequestException as error:
        raise EnvironmentsError(
            f"{trial.command[0]} did not end in {image} within {trial.seconds:g} s.", transient=True
        ) from error
    finally:
        with suppress(docker.errors.DockerException, requests.RequestException):
            container.remove(force=True)


def _outcome(container: Any, trial: Trial) -> Outcome:
    container.start()
    status = int(container.wait(timeout=trial.seconds)["StatusCode"])
    output, errors = (container.logs(stdout=one, stderr=not one).decode(errors="replace") for one in (True, False))
    return Outcome(status, output, errors)

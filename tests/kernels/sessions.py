"""Runs commands in an environment's image, with the limits that a session has."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from springtide.environments.build import build
from springtide.environments.catalog import shipped

# Those of a container session (springtide.hub.container), and no network, which no environment may need.
_LIMITS = (
    "--read-only",
    "--tmpfs=/tmp:rw,nosuid,nodev,size=512m,mode=1777",
    "--tmpfs=/home/jovyan:rw,exec,size=512m,uid=1000,gid=1000,mode=0755",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--user=1000:1000",
    "--pids-limit=1024",
    "--memory=2g",
    "--memory-swap=2g",
    "--cpus=2",
    "--init",
    "--network=none",
)


def image_of(environment: str) -> str:
    """Return the image of a shipped environment, built where it is missing."""
    recipe = shipped()[environment]
    build(recipe, lambda line: print(line, flush=True))
    return recipe.image


def run_in_image(
    environment: str,
    command: Sequence[str],
    *,
    stdin: str = "",
    mounts: Sequence[tuple[Path, str]] = (),
    seconds: float,
) -> subprocess.CompletedProcess[str]:
    """Run `command` in the image of `environment`; `mounts` (folder, place) are read-only."""
    volumes = [f"--volume={folder}:{place}:ro" for folder, place in mounts]
    return subprocess.run(
        ["docker", "run", "--rm", "--interactive", *_LIMITS, *volumes, image_of(environment), *command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )

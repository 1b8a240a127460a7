"""Builds the images that are missing, with progress.

``python -m springtide.environments.build [NAME…]`` does it by hand; ``make images`` calls that.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import docker
import docker.errors
import requests

from springtide.environments import buildkit
from springtide.environments import recipe as recipes
from springtide.environments.catalog import EnvironmentRecipe, shipped
from springtide.environments.debian import ensure_base_image
from springtide.environments.engine import connect, image_digest
from springtide.environments.registry.transfer import pull
from springtide.errors import EnvironmentsError, SpringtideError
from springtide.units import describe_duration

Progress = Callable[[str], None]

_SITE_CERTIFICATE_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE")
# What the build may know of this machine's network. Indexes and folders of pip's own configuration stay outside.
NETWORK_ARGUMENTS = ("PIP_INDEX_URL",)
_PROXY_ARGUMENTS = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_LOG_LINES = 15
_ENGINE_TIMEOUT_S = 900
_STEP = re.compile(r"Step (\d+)/\d+ :")
_CACHED = "---> Using cache"
_ADVICE = (
    (
        re.compile("CERTIFICATE_VERIFY_FAILED|certificate verify failed"),
        "The network inspects TLS: name its certificate authority's file in PIP_CERT and build again.",
    ),
    (
        re.compile(
            "Temporary failure in name resolution|Name or service not known|NewConnectionError|Could not resolve"
        ),
        "The build finds no network: check the “dns” of Docker's daemon.json, or set https_proxy or PIP_INDEX_URL.",
    ),
    (re.compile("No space left on device"), "The disk is full: “docker system df” shows what images take."),
    (
        re.compile("THESE PACKAGES DO NOT MATCH THE HASHES"),
        "A download differs from what was locked: build again; if it stays, the mirror is not to be trusted.",
    ),
)


def build(recipe: EnvironmentRecipe, progress: Progress) -> str:
    """Have the image of `recipe` on this machine's engine, with all it starts from, and return its digest.

    Does nothing for an image that is there. Two processes may call it at once: the second waits for the first.

    Raises
    ------
    EngineError
        If the Docker Engine does not answer.
    EnvironmentsError
        If the image cannot be built or pulled; the message ends with the log's last lines.
    """
    client = connect(_ENGINE_TIMEOUT_S)
    try:
        if (digest := image_digest(client, recipe.image)) is not None:
            return digest
        with _alone(progress):
            _build_missing(client, recipe, progress)
        digest = image_digest(client, recipe.image)
    finally:
        client.close()
    if digest is None:
        raise EnvironmentsError(f"The image {recipe.image} was built, and is not there.", transient=True)
    return digest


def site_certificate() -> bytes:
    """Return the certificate authority that this machine names for downloads; empty where it names none."""
    for variable in _SITE_CERTIFICATE_VARIABLES:
        named = os.environ.get(variable, "")
        if named and Path(named).is_file():
            return Path(named).read_bytes()
    return b""


@contextmanager
def _alone(progress: Progress) -> Iterator[None]:
    """Hold the builder's lock, which the system releases even when the builder is killed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "springtide"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_missing(client: docker.DockerClient, recipe: EnvironmentRecipe, progress: Progress) -> None:
    if image_digest(client, recipe.image) is not None:
        return
    if recipe.folder is None:
        pull(client, recipe.image, recipe.access, progress)
        return
    if recipe.parent:
        _build_missing(client, recipe.parent, progress)
    _build(client, recipe, recipe.folder, progress)


def _build(client: docker.DockerClient, recipe: EnvironmentRecipe, folder: Path, progress: Progress) -> None:
    arguments = _build_arguments(client, recipe, folder, progress)
    context = recipes.build_context(folder, {recipes.SITE_CERTIFICATE: site_certificate()})
    log = _Log(recipe, folder, progress)
    started = time.monotonic()
    if buildkit.is_chosen():
        events = buildkit.build(context, recipe.image, arguments, recipes.steps(folder))
    else:
        events = _engine_builds(client, recipe, context, arguments)
    for event in events:  # to the end even after an error: the connection is closed there
        log.read(event)
    log.raise_if_failed()
    progress(f"{recipe.image} is ready ({describe_duration(time.monotonic() - started)})")


def _engine_builds(
    client: docker.DockerClient, recipe: EnvironmentRecipe, context: IO[bytes], arguments: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield the messages of the engine's older builder, which every engine has."""
    try:
        yield from client.api.build(
            fileobj=context,
            custom_context=True,
            tag=recipe.image,
            buildargs=arguments,
            rm=True,
            forcerm=True,
            decode=True,
            timeout=None,
        )
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EnvironmentsError(f"The Docker Engine broke off the build of {recipe.image}: {error}") from error


def _build_arguments(
    client: docker.DockerClient, recipe: EnvironmentRecipe, folder: Path, progress: Progress
) -> dict[str, str]:
    declared = recipes.arguments(folder)
    arguments = {name: os.environ[name] for name in _PROXY_ARGUMENTS if name in os.environ}
    arguments |= {name: os.environ[name] for name in NETWORK_ARGUMENTS if name in declared & os.environ.keys()}
    if recipes.BASE_ARGUMENT in declared:
        arguments[recipes.BASE_ARGUMENT] = ensure_base_image(client, progress)
    if recipe.parent:
        arguments[recipes.SESSION_ARGUMENT] = recipe.parent.image
    return arguments


class _Log:
    """Turns the builder's messages into progress, and into an error that shows the end of the log."""

    def __init__(self, recipe: EnvironmentRecipe, folder: Path, progress: Progress) -> None:
        self._image = recipe.image
        self._steps = recipes.steps(folder)
        self._titles = [step.title for step in self._steps if step.title]
        self._progress = progress
        self._lines: deque[str] = deque(maxlen=_LOG_LINES)
        self._doing = "starting"
        self._error = ""

    def read(self, event: dict[str, Any]) -> None:
        """Take one message of the builder."""
        for line in str(event.get("stream", "")).splitlines():
            self._take(line.strip())
        self._error = str(event.get("error", self._error)).strip()

    def _take(self, line: str) -> None:
        if not line:
            return
        if step := _STEP.match(line):
            self._lines.clear()
            self._announce(int(step[1]))
        elif line != _CACHED:
            self._lines.append(line)

    def _announce(self, number: int) -> None:
        title = self._steps[number - 1].title if number <= len(self._steps) else ""
        if title:
            self._doing = title
            self._progress(f"[{self._titles.index(title) + 1}/{len(self._titles)}] {title}")

    def raise_if_failed(self) -> None:
        """Raise what the builder said went wrong, if anything.

        Raises
        ------
        EnvironmentsError
            With the log's last lines.
        """
        if not self._error:
            return
        said = "\n".join(self._lines)
        hints = [hint for pattern, hint in _ADVICE if pattern.search(said + self._error)]
        raise EnvironmentsError(
            f"The image {self._image} could not be built: {self._doing} failed: {self._error}\n"
            f"The log's last lines:\n{said}\n",
            " ".join(hints),
        )


def main(names: Sequence[str]) -> int:
    """Build the shipped environments called `names`, or all; return the exit status."""
    environments = shipped()
    unknown = sorted(set(names) - environments.keys())
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are: {', '.join(environments)}", file=sys.stderr)
        return 2
    for name in names or environments:
        recipe = environments[name]
        print(f"{name}: {recipe.image}", flush=True)
        try:
            digest = build(recipe, lambda line: print(f"  {line}", flush=True))
        except SpringtideError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"  {digest}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

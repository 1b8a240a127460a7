"""Builds an environment as a SIF with Apptainer: no daemon, no root, from the same folder as the Docker image.

Its packages are the locked ones, its files are not bit for bit those of the Docker image: where both are used,
converting the Docker image keeps the digest, and this is for labs that have no Docker.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from springtide.environments import recipe as recipes
from springtide.environments.build import NETWORK_ARGUMENTS, site_certificate
from springtide.environments.catalog import EnvironmentRecipe
from springtide.environments.debian import make_archive
from springtide.environments.definition import ARGUMENTS, POST_STEPS, SCRATCH_MARK, definition
from springtide.errors import EnvironmentsError

Progress = Callable[[str], None]

_PROGRAMS = ("apptainer", "singularity")
_ROOT = "debian-12"
_LOG_LINES = 15
_TITLE = re.compile(r"#: (.+)")
_DIGITS = 10


def build_sif(recipe: EnvironmentRecipe, folder: Path, progress: Progress) -> Path:
    """Have the SIF of `recipe` in `folder`, with all it starts from, and return its path.

    Does nothing for one that is there: its name changes with its recipe. The definition stays beside it.

    Raises
    ------
    EnvironmentsError
        If Apptainer is missing, or the recipe cannot be built; the message ends with the log's last lines.
    """
    program = _program()
    if recipe.folder is None:
        raise EnvironmentsError(f"{recipe.name} has no recipe: it is only the image {recipe.image}.")
    folder.mkdir(parents=True, exist_ok=True)
    origin = build_sif(recipe.parent, folder, progress) if recipe.parent else _debian(folder, progress)
    with _alone(folder, progress):
        target = folder / f"{recipe.name}-{_state(recipe, recipe.folder, origin)}.sif"
        if not target.exists():
            _build(program, recipe, recipe.folder, origin, target, progress)
    return target


def _program() -> str:
    for name in _PROGRAMS:
        if found := shutil.which(name):
            return found
    raise EnvironmentsError(
        "Apptainer is not on this machine.", "Its packages: https://apptainer.org/docs/admin/main/installation.html"
    )


def _state(recipe: EnvironmentRecipe, folder: Path, origin: Path) -> str:
    """Return a short text that changes with all that reaches the image."""
    post = folder / POST_STEPS
    steps = post.read_bytes() if post.is_file() else b""
    return hashlib.sha256(f"{recipes.fingerprint(folder, origin.name)}\0".encode() + steps).hexdigest()[:_DIGITS]


@contextmanager
def _alone(folder: Path, progress: Progress) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _debian(folder: Path, progress: Progress) -> Path:
    """Have an unpacked Debian in `folder`, made from its packages once, and return its path."""
    root = folder / _ROOT
    with _alone(folder, progress):
        if not root.is_dir():
            with tempfile.TemporaryDirectory(dir=folder, prefix=".debian-", ignore_cleanup_errors=True) as scratch:
                archive, unpacked = Path(scratch, "debian.tar"), Path(scratch, "root")
                progress("making Debian from its packages (about a minute)")
                make_archive(archive, progress)
                # Devices, which an ordinary user cannot make, Apptainer brings.
                _unpack(archive, unpacked, "--exclude=./dev/*")
                unpacked.rename(root)
    return root


def _unpack(archive: Path, folder: Path, *options: str) -> None:
    """Unpack `archive` as this account's; not by Python, whose older versions know no filter of owners and modes."""
    folder.mkdir()
    command = ["tar", "--extract", f"--file={archive}", f"--directory={folder}", "--no-same-owner", *options]
    answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise EnvironmentsError(f"{archive} cannot be unpacked: {answer.stderr.strip()}")


def _build(
    program: str, recipe: EnvironmentRecipe, folder: Path, origin: Path, target: Path, progress: Progress
) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-", ignore_cleanup_errors=True) as place:
        context, scratch, made = Path(place, "context"), Path(place, "tmp"), Path(place, "made.sif")
        _fill(context, folder)
        _prepare(scratch, folder)
        file = target.with_suffix(".def")
        file.write_text(definition(folder, recipe.name, origin.absolute(), context.absolute()), encoding="utf-8")
        # A /tmp of its own: the recipe's steps write there, and clean up.
        command = [program, "build", "--bind", f"{scratch.absolute()}:/tmp", str(made), str(file)]
        _run(command, recipe, folder, progress)
        os.replace(made, target)
    progress(f"{target} is ready")


def _fill(context: Path, folder: Path) -> None:
    archive = context.with_suffix(".tar")
    archive.write_bytes(recipes.build_context(folder, {recipes.SITE_CERTIFICATE: site_certificate()}).getvalue())
    _unpack(archive, context)


def _prepare(scratch: Path, folder: Path) -> None:
    scratch.mkdir(mode=0o700)
    (scratch / SCRATCH_MARK).touch()
    names = [name for name in NETWORK_ARGUMENTS if name in recipes.arguments(folder) and name in os.environ]
    arguments = scratch / Path(ARGUMENTS).name
    arguments.touch(mode=0o600)
    arguments.write_text("".join(f"{name}={shlex.quote(os.environ[name])}\n" for name in names), encoding="utf-8")


def _run(command: list[str], recipe: EnvironmentRecipe, folder: Path, progress: Progress) -> None:
    titles = [step.title for step in recipes.steps(folder) if step.title]
    last: deque[str] = deque(maxlen=_LOG_LINES)
    doing = "starting"
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in map(str.strip, process.stdout):
            last.append(line)
            if (title := _TITLE.fullmatch(line)) and title[1] in titles:
                doing = title[1]
                progress(f"[{titles.index(doing) + 1}/{len(titles)}] {doing}")
    if process.returncode != 0:
        said = "\n".join(last)
        raise EnvironmentsError(
            f"{recipe.name} could not be built with Apptainer: {doing} failed.\nThe log's last lines:\n{said}\n"
        )

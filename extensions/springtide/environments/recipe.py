"""Reads a recipe's folder: its Dockerfile, its fingerprint, and the build context made from it."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from springtide.errors import EnvironmentsError

DOCKERFILE = "Dockerfile"
SITE_CERTIFICATE = "site/site-ca.crt"
BASE_ARGUMENT = "BASE"
"""``ARG BASE`` in a Dockerfile: the Debian image all of ours start from."""
SESSION_ARGUMENT = "SESSION"
"""``ARG SESSION`` in a Dockerfile: the session image."""

_FINGERPRINT_DIGITS = 10
# Neither of these reaches an image: changing them must not change its name.
_OUTSIDE_THE_IMAGE = frozenset(
    {"README.md", "requirements.in", "apps", "tests", "site", "__pycache__"}
    | {"Jenkinsfile", ".gitlab-ci.yml", "apptainer.post"}
)
_STEP_TITLE = "#:"
_ARGUMENT = re.compile(r"ARG\s+(\w+)", re.IGNORECASE)


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile; `title` is its ``#:`` comment, empty where it has none."""

    instruction: str
    title: str


def steps(folder: Path) -> list[Step]:
    """Return the instructions of the Dockerfile in `folder`, numbered as the builder does.

    Raises
    ------
    EnvironmentsError
        If there is no Dockerfile to read.
    """
    try:
        text = (folder / DOCKERFILE).read_text(encoding="utf-8")
    except OSError as error:
        raise EnvironmentsError(
            f"The recipe {folder} has no {DOCKERFILE} that can be read: {error.strerror}."
        ) from error
    return list(_steps(text.splitlines()))


def _steps(lines: list[str]) -> Iterator[Step]:
    title, pending = "", ""
    for line in map(str.strip, lines):
        if line.startswith(_STEP_TITLE):
            title = line.removeprefix(_STEP_TITLE).strip()
        if not line or line.startswith("#"):
            continue
        pending += line.removesuffix("\\")
        if not line.endswith("\\"):
            yield Step(pending, title)
            title, pending = "", ""


def arguments(folder: Path) -> set[str]:
    """Return the names of the build arguments that the Dockerfile in `folder` declares."""
    return {match[1] for step in steps(folder) if (match := _ARGUMENT.match(step.instruction))}


def needs_session_image(folder: Path) -> bool:
    """Say whether the image starts from the session image."""
    return SESSION_ARGUMENT in arguments(folder)


def fingerprint(folder: Path, parent_image: str) -> str:
    """Return a short text that changes whenever something that reaches the image changes."""
    digest = hashlib.sha256(parent_image.encode())
    for file in _files(folder):
        path = file.relative_to(folder)
        if _OUTSIDE_THE_IMAGE.isdisjoint(path.parts):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{path.as_posix()}\0{_mode(file):o}\0{content}\n".encode())
    return digest.hexdigest()[:_FINGERPRINT_DIGITS]


def build_context(folder: Path, extra: Mapping[str, bytes]) -> io.BytesIO:
    """Return the files of `folder` and `extra` as a tar archive for the builder.

    Owners, times and modes are the same on every machine, so that the builder's cache holds.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file in _files(folder):
            name = file.relative_to(folder).as_posix()
            if name not in extra:
                _add(tar, name, file.read_bytes(), _mode(file))
        for name, content in extra.items():
            _add(tar, name, content, 0o644)
    archive.seek(0)
    return archive


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _mode(file: Path) -> int:
    return 0o755 if file.stat().st_mode & 0o100 else 0o644


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))

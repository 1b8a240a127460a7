"""Reads a recipe's folder for faults that would show later, on somebody else's machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from springtide.environments.findings import Finding, State
from springtide.environments.recipe import BASE_ARGUMENT, DOCKERFILE, SESSION_ARGUMENT, Step, steps

_LOCK = "requirements.lock"
_ASKED = "requirements.in"
_KERNELSPEC = Path("kernelspec", "kernel.json")
_SECRET_NAMES = re.compile(r"\.netrc|\.pypirc|\.env|id_(rsa|ed25519|ecdsa)|.*\.(pem|key|p12)|.*credentials.*\.json")
_SECRET_TEXT = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s:@]+:[^/\s@$]+@")
_DOWNLOADED = re.compile(r"\b(curl|wget)\b")
_REQUIREMENT = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*(?:==\s*([^\s;#]+))?", re.MULTILINE)
_LARGEST_TEXT = 1_000_000

Faults = Iterator[str]


def lint(folder: Path, name: str) -> Finding:
    """Return what is wrong with the recipe of environment `name` in `folder`, without building it.

    Raises
    ------
    EnvironmentsError
        If it has no Dockerfile to read.
    """
    recipe = steps(folder)
    faults = [fault for check in _CHECKS for fault in check(folder, name, recipe)]
    if faults:
        return Finding("recipe", State.FAILED, f"{len(faults)} to correct", tuple(faults))
    return Finding("recipe", State.OK, "what the recipe's files say fits together")


def _origin(folder: Path, name: str, recipe: list[Step]) -> Faults:
    origins = [step.instruction.split()[1] for step in recipe if step.instruction.upper().startswith("FROM ")]
    ours = {f"${{{argument}}}" for argument in (BASE_ARGUMENT, SESSION_ARGUMENT)}
    if not origins:
        yield f"{DOCKERFILE}: has no FROM"
    elif origins[-1] not in ours:
        yield (
            f"{DOCKERFILE}: starts from {origins[-1]}: only what starts from ${{{SESSION_ARGUMENT}}} (ARG "
            f"{SESSION_ARGUMENT}) has what the hub starts"
        )


def _user(folder: Path, name: str, recipe: list[Step]) -> Faults:
    users = [step.instruction.split()[1] for step in recipe if step.instruction.upper().startswith("USER ")]
    if users and users[-1].split(":")[0] in ("root", "0"):
        yield f"{DOCKERFILE}: ends as root: end with USER 1000:1000"


def _reproducible(folder: Path, name: str, recipe: list[Step]) -> Faults:
    for step in recipe:
        text = step.instruction
        if re.search(r"\bpip\b.*\binstall\b", text) and "--require-hashes" not in text:
            yield f"{DOCKERFILE}: pip install without --require-hashes: another day installs other packages"
        if _DOWNLOADED.search(text) and "sha256sum" not in text:
            yield f"{DOCKERFILE}: a download that is not compared with its checksum (sha256sum --check)"
        if text.upper().startswith("ADD ") and "://" in text and "--checksum" not in text:
            yield f"{DOCKERFILE}: ADD of a URL without --checksum"


def _titles(folder: Path, name: str, recipe: list[Step]) -> Faults:
    if any(step.instruction.upper().startswith("RUN") for step in recipe) and not any(step.title for step in recipe):
        yield f"{DOCKERFILE}: no “#: title” above a step: who waits for the build sees nothing"


def _layers(folder: Path, name: str, recipe: list[Step]) -> Faults:
    """What changes often must come after what takes long."""
    whole = False
    for step in recipe:
        words = step.instruction.split()
        if words[0].upper() == "COPY" and any(word in (".", "./") for word in words[1:-1]):
            whole = True
        if whole and re.search(r"\b(pip|apt-get|conda|mamba)\b.*\binstall\b", step.instruction):
            yield f"{DOCKERFILE}: copies the whole folder before it installs packages: each change installs them again"
            return


def _locked(folder: Path, name: str, recipe: list[Step]) -> Faults:
    if not (folder / _LOCK).is_file():
        if (folder / _ASKED).is_file():
            yield f"{_LOCK}: is missing; {_ASKED} is locked with: uv pip compile --generate-hashes"
        return
    text = (folder / _LOCK).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    for entry in entries:
        if entry and not re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+.*\\\n\s+--hash=sha256:", entry):
            yield f"{_LOCK}: “{entry.splitlines()[0][:60]}” is not pinned with its hashes"
    if re.search(r"://|--index|--find-links", text):
        yield f"{_LOCK}: names a package index of the machine that locked (--no-emit-index-url)"
    if (folder / _ASKED).is_file():
        yield from _asked(_pins((folder / _ASKED).read_text(encoding="utf-8")), _pins(text))


def _asked(asked: dict[str, str], locked: dict[str, str]) -> Faults:
    for package, version in asked.items():
        if package not in locked:
            yield f"{_ASKED}: asks for {package}, which {_LOCK} lacks: lock again"
        elif version and version != locked[package]:
            yield f"{_ASKED}: asks for {package} {version}, {_LOCK} has {locked[package]}: lock again"


def _pins(text: str) -> dict[str, str]:
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in _REQUIREMENT.findall(text)}


def _kernel(folder: Path, name: str, recipe: list[Step]) -> Faults:
    file = folder / _KERNELSPEC
    if not file.is_file():
        return
    try:
        spec = json.loads(file.read_text(encoding="utf-8"))
        python, environment = spec["argv"][0], spec["metadata"]["springtide"]["environment"]
    except (ValueError, LookupError, TypeError):
        yield f"{_KERNELSPEC}: lacks argv, or metadata.springtide.environment: tutorials would not find the kernel"
        return
    if environment != name:
        yield f"{_KERNELSPEC}: is of environment “{environment}”, and this is “{name}”"
    if not str(python).startswith("/"):
        yield f"{_KERNELSPEC}: starts “{python}” from PATH, which may be the session's own Python"


def _tests(folder: Path, name: str, recipe: list[Step]) -> Faults:
    if not list((folder / "tests").glob("test_*.py")):
        yield "tests: has no test_*.py: nothing says that the image works"


def _secrets(folder: Path, name: str, recipe: list[Step]) -> Faults:
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = file.relative_to(folder)
        if place.parts[0] == "site":
            continue  # certificates of the machine, which no image keeps
        if _SECRET_NAMES.fullmatch(file.name):
            yield f"{place}: looks like a secret: whoever has the image would have it"
        elif file.stat().st_size < _LARGEST_TEXT and _SECRET_TEXT.search(file.read_text("utf-8", errors="replace")):
            yield f"{place}: holds a private key, or a password in a URL"


_CHECKS: tuple[Callable[[Path, str, list[Step]], Faults], ...] = (
    _origin,
    _user,
    _reproducible,
    _titles,
    _layers,
    _locked,
    _kernel,
    _tests,
    _secrets,
)

"""What a place has installed is enough for what is imported there."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

import springtide

ROOT = Path(__file__).parents[1]
OF_JOBS = ("springtide.jobs:", *(f"springtide:{name}" for name, at in springtide._LAZY.items() if ".jobs." in at))
OF_WIDGETS = tuple(f"springtide:{name}" for name, at in springtide._LAZY.items() if ".widgets." in at)
OF_SESSIONS = (*OF_JOBS, *OF_WIDGETS, "springtide.cluster:", "springtide.kernels:", "springtide.widgets:")

BLOCKED = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from pkgutil import resolve_name
for name in {names!r}:
    resolve_name(name)
"""


def installed_by(distribution: str, found: set[str] | None = None) -> set[str]:
    """Return the distribution and all that come with it, without its extras."""
    found = set() if found is None else found
    name = canonical(distribution)
    if name not in found:
        found.add(name)
        for line in requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                installed_by(requirement.name, found)
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_in_image() -> set[str]:
    lock = (ROOT / "kernels/base/requirements.lock").read_text(encoding="utf-8")
    return {canonical(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}


def resolve_with(there: set[str], *names: str) -> subprocess.CompletedProcess[str]:
    """Resolve names, as `pkgutil.resolve_name` reads them, where only these distributions are installed."""
    missing = {
        top
        for top, distributions in packages_distributions().items()
        if top != "springtide" and not there & {canonical(name) for name in distributions}
    }
    code = BLOCKED.format(missing=missing, names=names)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_sessions_image_has_what_its_notebooks_import() -> None:
    answer = resolve_with(locked_in_image(), *OF_SESSIONS)
    assert answer.returncode == 0, answer.stderr


def test_the_package_alone_can_submit_jobs() -> None:
    answer = resolve_with(installed_by("springtide"), *OF_JOBS)
    assert answer.returncode == 0, answer.stderr


def test_what_is_missing_is_noticed() -> None:
    assert "No module named 'docker'" in resolve_with(locked_in_image(), "springtide.environments.engine:").stderr

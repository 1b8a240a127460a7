"""A kernel for sessions without containers is complete, or not there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from springtide.environments.catalog import EnvironmentRecipe, shipped
from springtide.environments.host import jupyter_path, needs_host_environment, prepare_host_environment
from springtide.errors import EnvironmentsError
from springtide.lab.models import Text
from springtide.share import share_path

PREPARE = """
from pathlib import Path
from springtide.environments.catalog import EnvironmentRecipe
from springtide.environments.host import prepare_host_environment
from springtide.lab.models import Text
import sys
recipe = EnvironmentRecipe("small", "none", Path(sys.argv[1]), Text(en="Small"))
prepare_host_environment(recipe, Path(sys.argv[2]), sys.executable, lambda line: print(line, flush=True))
"""


@pytest.fixture
def recipe(tmp_path: Path) -> EnvironmentRecipe:
    """Return an environment with one small package."""
    folder = tmp_path / "recipe"
    (folder / "kernelspec").mkdir(parents=True)
    (folder / "etc" / "small").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "etc" / "small" / "small.conf").write_text("yes")
    (folder / "kernelspec" / "kernel.json").write_text('{"argv": ["/opt/python", "-m", "x"], "display_name": "Small"}')
    (folder / "kernelspec" / "logo-svg.svg").write_text("<svg/>")
    (folder / "requirements.lock").write_text(locked("toolz"))
    return EnvironmentRecipe("small", "none", folder, Text(en="Small"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "environments"


def locked(package: str) -> str:
    """Return the lines that lock `package` in the LISA environment."""
    text = share_path("kernels", "lisa", "requirements.lock").read_text()
    match = re.search(rf"^{package}==.*\n(    --hash.*\n)+", text, re.MULTILINE)
    assert match
    return match[0]


def prepare(recipe: EnvironmentRecipe, root: Path) -> list[str]:
    lines: list[str] = []
    prepare_host_environment(recipe, root, sys.executable, lines.append)
    return lines


def kernel(root: Path) -> dict[str, list[str]]:
    spec: dict[str, list[str]] = json.loads((root / "share/jupyter/kernels/small/kernel.json").read_text())
    return spec


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_the_session_environment_needs_nothing(root: Path) -> None:
    assert not needs_host_environment(shipped()["base"], root)
    assert prepare(shipped()["base"], root) == []
    assert not root.exists()


def test_the_lisa_environment_has_a_kernel_to_prepare(root: Path) -> None:
    assert needs_host_environment(shipped()["lisa"], root)


def test_an_image_without_a_recipe_has_nothing_to_prepare(root: Path) -> None:
    assert not needs_host_environment(EnvironmentRecipe("none", "none:1", None, Text(en="None")), root)


def test_nothing_is_on_the_path_before(root: Path) -> None:
    assert jupyter_path(root) == []


def test_the_kernel_has_the_locked_packages_and_settings(recipe: EnvironmentRecipe, root: Path) -> None:
    assert needs_host_environment(recipe, root)
    prepare(recipe, root)
    assert not needs_host_environment(recipe, root)
    python = kernel(root)["argv"][0]
    subprocess.run([python, "-c", "import toolz"], check=True)
    assert kernel(root)["argv"][1:] == ["-m", "x"]
    assert (Path(python).parents[1] / "etc/small/small.conf").read_text() == "yes"


def test_jupyter_finds_the_kernel_by_its_path(recipe: EnvironmentRecipe, root: Path) -> None:
    prepare(recipe, root)
    search = os.environ | {"JUPYTER_PATH": ":".join(map(str, jupyter_path(root)))}
    command = [sys.executable, "-m", "jupyter_client.kernelspecapp", "list", "--json", "--log-level=ERROR"]
    listed = json.loads(subprocess.run(command, env=search, capture_output=True, text=True, check=True).stdout)
    assert listed["kernelspecs"]["small"]["resource_dir"] == str(root / "share/jupyter/kernels/small")


def test_a_prepared_environment_is_left_alone(recipe: EnvironmentRecipe, root: Path) -> None:
    prepare(recipe, root)
    assert prepare(recipe, root) == []


def test_a_changed_recipe_is_prepared_beside_the_old_one(recipe: EnvironmentRecipe, root: Path) -> None:
    prepare(recipe, root)
    before = kernel(root)["argv"][0]
    assert recipe.folder
    (recipe.folder / "requirements.lock").write_text(locked("toolz") + locked("locket"))
    assert needs_host_environment(recipe, root)
    prepare(recipe, root)
    assert kernel(root)["argv"][0] != before
    assert Path(before).exists()


def test_a_lost_virtual_environment_is_noticed(recipe: EnvironmentRecipe, root: Path) -> None:
    prepare(recipe, root)
    Path(kernel(root)["argv"][0]).unlink()
    assert needs_host_environment(recipe, root)


def test_other_accounts_can_read_it_whatever_the_umask(recipe: EnvironmentRecipe, root: Path) -> None:
    with umask(0o077):
        prepare(recipe, root)
    shared = [root, *(root / "venvs").rglob("*"), *(root / "share").rglob("*")]
    closed = [path for path in shared if not path.is_symlink() and not path.stat().st_mode & 0o004]
    assert closed == []


def test_a_preparation_that_was_killed_is_done_again(recipe: EnvironmentRecipe, root: Path) -> None:
    command = [sys.executable, "-c", PREPARE, str(recipe.folder), str(root)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as preparation:
        while not list(root.glob("venvs/*/bin/pip*")):
            assert preparation.poll() is None
            time.sleep(0.02)
        os.kill(preparation.pid, signal.SIGKILL)
    assert needs_host_environment(recipe, root)
    prepare(recipe, root)
    subprocess.run([kernel(root)["argv"][0], "-c", "import toolz"], check=True)


def test_two_preparations_at_once_do_the_work_once(recipe: EnvironmentRecipe, root: Path) -> None:
    with ThreadPoolExecutor() as threads:
        lines = [line for some in threads.map(lambda _: prepare(recipe, root), range(2)) for line in some]
    assert lines.count("installing 1 packages") == 1
    assert lines.count("waiting for another process that prepares it") == 1


def test_a_package_that_is_not_what_was_locked_is_refused(recipe: EnvironmentRecipe, root: Path) -> None:
    assert recipe.folder
    forged = re.sub("sha256:....", "sha256:0000", locked("toolz"))
    (recipe.folder / "requirements.lock").write_text(forged)
    with pytest.raises(EnvironmentsError, match="DO NOT MATCH THE HASHES"):
        prepare(recipe, root)
    assert not (root / "share/jupyter/kernels/small/kernel.json").exists()


def test_a_python_that_does_not_run_is_named(recipe: EnvironmentRecipe, root: Path) -> None:
    with pytest.raises(EnvironmentsError, match=r"/no/such/python cannot be run"):
        prepare_host_environment(recipe, root, "/no/such/python", print)

"""Makes an environment's kernel usable where there are no containers: a virtual environment and its kernelspec.

A recipe that can do without a container has ``requirements.lock``, ``kernelspec/kernel.json`` and, if it likes,
settings in ``etc``; the session environment needs nothing, its kernel being the session's own Python. The kernelspec
is what makes a virtual environment visible, and it is written last: one that was killed half-way is never seen, and
made again.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from springtide.environments.catalog import EnvironmentRecipe
from springtide.environments.recipe import fingerprint
from springtide.errors import EnvironmentsError

Progress = Callable[[str], None]

_LOCK_FILE = "requirements.lock"
_SETTINGS = "etc"
_KERNELSPEC = Path("kernelspec", "kernel.json")
_LOG_LINES = 15
_PROGRESS_EVERY = 10
# Sessions of other accounts read these files, whatever the hub's own umask.
_UMASK = 0o022
_LOCKED_PACKAGE = re.compile(r"^[\w.-]+==", re.MULTILINE)


def jupyter_path(root: Path) -> list[Path]:
    """Return what JUPYTER_PATH must name for a session to see the kernels made under `root`; empty without any."""
    folder = _share(root)
    return [folder] if folder.is_dir() else []


def needs_host_environment(recipe: EnvironmentRecipe, root: Path) -> bool:
    """Say whether `recipe` has a kernel of its own that could be used without a container, and is not under `root`."""
    return _suits_host(recipe) and not _is_ready(recipe, root)


def host_python(recipe: EnvironmentRecipe, root: Path) -> Path | None:
    """Return the Python of `recipe`'s kernel under `root`; None where it is not made."""
    return _python(_environment_folder(recipe, root)) if _suits_host(recipe) and _is_ready(recipe, root) else None


def prepare_host_environment(recipe: EnvironmentRecipe, root: Path, python: str, progress: Progress) -> None:
    """Have the kernel of `recipe` under `root`; does nothing where it is, or where the recipe has none of its own.

    Two processes may call it at once: the second waits for the first. Environments of former recipes stay, as kernels
    may still run in them.

    Parameters
    ----------
    recipe : EnvironmentRecipe
        The environment.
    root : Path
        Folder that sessions can read; it may be new.
    python : str
        The interpreter to make the virtual environment with.
    progress : callable
        Told what is done, a short line at a time.

    Raises
    ------
    EnvironmentsError
        If it cannot be made; the message ends with the log's last lines.
    """
    if not needs_host_environment(recipe, root):
        return
    assert recipe.folder is not None
    folder = _environment_folder(recipe, root)
    for readable in (root, folder.parent, _share(root).parent, _share(root), _share(root) / "kernels"):
        _make_readable(readable)
    with _alone(root, recipe.name, progress):
        if _is_ready(recipe, root):
            return
        shutil.rmtree(folder, ignore_errors=True)
        progress(f"making a virtual environment in {folder}")
        _run([python, "-m", "venv", str(folder)], progress, "apt install python3-venv, then try again.")
        _install(folder, recipe.folder / _LOCK_FILE, progress)
        if (recipe.folder / _SETTINGS).is_dir():
            _copy_readable(recipe.folder / _SETTINGS, folder / _SETTINGS)
        _publish(recipe.folder / _KERNELSPEC.parent, _kernel_folder(recipe, root), _python(folder))
    progress(f"the kernel {recipe.name} is ready")


def host_prefix(recipe: EnvironmentRecipe, root: Path) -> Path | None:
    """Return where the software of `recipe` lies under `root`: the virtual environment, None before it is made."""
    return _environment_folder(recipe, root) if _suits_host(recipe) and _is_ready(recipe, root) else None


def suits_host(recipe: EnvironmentRecipe) -> bool:
    """Say whether `recipe` can do without a container, by a virtual environment of its own."""
    return _suits_host(recipe)


def _suits_host(recipe: EnvironmentRecipe) -> bool:
    return recipe.folder is not None and all((recipe.folder / part).is_file() for part in (_LOCK_FILE, _KERNELSPEC))


def _is_ready(recipe: EnvironmentRecipe, root: Path) -> bool:
    python = _python(_environment_folder(recipe, root))
    try:
        kernel = json.loads((_kernel_folder(recipe, root) / _KERNELSPEC.name).read_text(encoding="utf-8"))
        return bool(kernel["argv"][0] == str(python)) and python.exists()
    except (OSError, ValueError, LookupError):
        return False


def _environment_folder(recipe: EnvironmentRecipe, root: Path) -> Path:
    assert recipe.folder is not None
    # A virtual environment cannot be moved, so each state of the recipe gets a place of its own.
    return root.absolute() / "venvs" / f"{recipe.name}-{fingerprint(recipe.folder, '')}"


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


def _share(root: Path) -> Path:
    return root.absolute() / "share" / "jupyter"


def _kernel_folder(recipe: EnvironmentRecipe, root: Path) -> Path:
    return _share(root) / "kernels" / recipe.name


def _make_readable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777 & ~_UMASK)


@contextmanager
def _alone(root: Path, name: str, progress: Progress) -> Iterator[None]:
    with (root / f".{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that prepares it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(environment: Path, lock_file: Path, progress: Progress) -> None:
    total = len(_LOCKED_PACKAGE.findall(lock_file.read_text(encoding="utf-8")))
    collected = 0

    def count(line: str) -> None:
        nonlocal collected
        if line.startswith("Collecting "):
            collected += 1
            if collected % _PROGRESS_EVERY == 1:
                progress(f"[{collected}/{total}] downloading {line.split()[1].split('==')[0]}")
        elif line.startswith("Installing collected packages"):
            progress(f"installing {total} packages")

    options = ["--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes", "--progress-bar=off"]
    command = [str(_python(environment)), "-m", "pip", "install", *options, "--requirement", str(lock_file)]
    _run(command, count, "Check that this machine reaches its Python package index (pip config list).")


def _run(command: Sequence[str], read: Callable[[str], None], hint: str) -> None:
    """Run `command`, giving `read` its lines.

    Raises
    ------
    EnvironmentsError
        If it cannot run or fails.
    """
    last: deque[str] = deque(maxlen=_LOG_LINES)
    try:
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            umask=_UMASK,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line.rstrip())
                read(line.strip())
    except OSError as error:
        raise EnvironmentsError(f"{command[0]} cannot be run: {error.strerror}.", hint) from error
    if process.returncode != 0:
        said = "\n".join(last)
        raise EnvironmentsError(f"{' '.join(command[:3])} ended with {process.returncode}:\n{said}\n", hint)


def _copy_readable(source: Path, target: Path, without: str = "") -> None:
    _make_readable(target)
    for entry in source.iterdir():
        if entry.is_dir():
            _copy_readable(entry, target / entry.name)
        elif entry.name != without:
            shutil.copyfile(entry, target / entry.name)
            (target / entry.name).chmod(0o666 & ~_UMASK)


def _publish(source: Path, kernel: Path, python: Path) -> None:
    """Write the kernelspec for `python`, complete or not at all."""
    _copy_readable(source, kernel, without=_KERNELSPEC.name)
    declared = json.loads((source / _KERNELSPEC.name).read_text(encoding="utf-8"))
    declared["argv"][0] = str(python)
    beside = kernel / f".{_KERNELSPEC.name}"
    beside.write_text(json.dumps(declared, indent=2), encoding="utf-8")
    beside.chmod(0o666 & ~_UMASK)
    os.replace(beside, kernel / _KERNELSPEC.name)

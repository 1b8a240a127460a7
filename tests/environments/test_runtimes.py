"""One process, the same under every runtime: account, umask, folder, binds, variables, status; and what one lacks."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from springtide.environments.runtimes import RUNTIMES, Bind, Form, Lack, Launch, Prepared, find_runtime
from springtide.errors import EnvironmentsError
from tests.support.accounts import Account, TwoUsers, run_as
from tests.support.apptainer import apptainer_folder
from tests.support.docker_engine import DockerEngine
from tests.support.kernel_images import session_image, unpacked_session_image
from tests.support.need import require

SECRET = "9c41-secret"
# Starts what the runtime says, as a session or a job does, with a umask that is nobody's default.
PROGRAM = """
import json, os, sys
from pathlib import Path
from springtide.environments.runtimes import Bind, Form, Launch, Prepared, find_runtime
asked = json.loads(sys.argv[1])
os.umask(0o027)
binds = tuple(Bind(Path(source), target, read_only) for source, target, read_only in asked["binds"])
launch = Launch(tuple(asked["command"]), binds=binds, environment=asked["environment"], folder=asked["folder"])
command = find_runtime(asked["runtime"], Form(asked["form"])).command(Prepared("sha256:1", asked["place"]), launch)
assert asked["secret"] not in str(command.argv)
os.execvpe(command.argv[0], command.argv, {**os.environ, **command.environment})
"""
INSIDE = """
umask; pwd; echo "$WORD"; echo "$SPRINGTIDE_IMAGE_DIGEST"; echo "$HOME"; echo kept > "$1/written"; cat "$1/read"
(echo no > /opt/session/written) 2>/dev/null || echo "image kept"
echo é; exit 7
"""


@dataclass(frozen=True)
class Setting:
    """A runtime with the image it is tried on, and who may use it."""

    runtime: str
    form: Form
    place: str
    account: Account | None
    environment: Mapping[str, str]

    def run(self, command: list[str], folder: Path, **asked: Any) -> tuple[int, str, str]:
        wish = {
            "runtime": self.runtime,
            "form": self.form.value,
            "place": self.place,
            "command": command,
            "binds": [[str(folder), str(folder), False]],
            "environment": {"WORD": SECRET, "HOME": str(folder)},
            "folder": str(folder),
            "secret": SECRET,
            **asked,
        }
        done = run_as(
            self.account, [sys.executable, "-c", PROGRAM, json.dumps(wish)], environment=self.environment, check=False
        )
        return done.returncode, done.stdout, done.stderr


SETTINGS = ("docker", "apptainer", "singularity", "udocker", "charliecloud")


@pytest.fixture(scope="module", params=SETTINGS)
def setting(request: pytest.FixtureRequest, docker_engine: DockerEngine, two_users: TwoUsers) -> Setting:
    name = request.param
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if name == "docker":
        return Setting(name, Form.ENGINE, session_image(docker_engine)[0], None, docker_engine.environment)
    # Apptainer refuses to work for a root that lacks a capability; the others are for ordinary accounts as well.
    account = two_users.alice if os.geteuid() == 0 else None
    if name in ("apptainer", "singularity"):
        path = f"{apptainer_folder()}{os.pathsep}{path}"
    if name == "charliecloud":
        require("Charliecloud", shutil.which("ch-run"))
    if name == "udocker":
        require("runc", shutil.which("runc", path=f"{path}:/usr/sbin"))
        path = f"{path}:/usr/sbin"
    return Setting(name, Form.FOLDER, str(unpacked_session_image(docker_engine)), account, {"PATH": path})


@pytest.fixture
def folder(setting: Setting, tmp_path: Path) -> Path:
    """Return a folder of the account that uses the runtime."""
    where = (setting.account.home if setting.account else tmp_path) / f"work-{os.getpid()}"
    where.mkdir(exist_ok=True)
    (where / "read").write_text("from outside\n", encoding="utf-8")
    (where / "written").unlink(missing_ok=True)
    if setting.account:
        os.chown(where, setting.account.uid, setting.account.gid)
    return where


def test_a_process_is_the_same_under_every_runtime(setting: Setting, folder: Path) -> None:
    status, out, errors = setting.run(["/bin/sh", "-c", INSIDE, "sh", str(folder)], folder)
    assert (status, out.splitlines()) == (
        7,
        ["0027", str(folder), SECRET, "sha256:1", str(folder), "from outside", "image kept", "é"],
    ), errors
    written = folder / "written"
    account = setting.account
    owner = (account.uid, account.gid) if account else (os.geteuid(), os.getegid())
    assert ((written.stat().st_uid, written.stat().st_gid), written.stat().st_mode & 0o777) == (owner, 0o640)


def test_a_read_only_bind_cannot_be_written_or_is_refused(setting: Setting, folder: Path) -> None:
    binds = [[str(folder), str(folder), True]]
    status, _, errors = setting.run(["/bin/sh", "-c", "echo no > written"], folder, binds=binds)
    assert status != 0
    assert not (folder / "written").exists()
    if Lack.READ_ONLY in RUNTIMES[setting.runtime].lacks:
        assert f"The runtime {setting.runtime} cannot bind a folder read-only" in errors


def test_a_runtime_says_its_version(setting: Setting) -> None:
    program = (
        f"from springtide.environments.runtimes import find_runtime; print(find_runtime({setting.runtime!r}).version())"
    )
    said = run_as(setting.account, [sys.executable, "-c", program], environment=setting.environment).stdout
    assert said[0].isdigit()


def test_a_runtime_that_is_not_there_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in set(RUNTIMES) - {"host"}:
        with pytest.raises(EnvironmentsError, match="is not on this machine") as refused:
            find_runtime(name).version()
        assert refused.value.hint.startswith("Install")


def test_an_unknown_runtime_and_a_form_that_it_does_not_take_are_refused() -> None:
    with pytest.raises(EnvironmentsError, match="no runtime “rkt”"):
        find_runtime("rkt")
    with pytest.raises(EnvironmentsError, match="docker takes no image in the form “sif”"):
        find_runtime("docker", Form.SIF)
    with pytest.raises(EnvironmentsError, match="not the form “engine”"):
        find_runtime("apptainer", Form.ENGINE)


ASKED: dict[Lack, dict[str, Any]] = {
    Lack.CORES: {"cores": 2},
    Lack.MEMORY: {"memory_bytes": 2**30},
    Lack.PROCESSES: {"processes": 10},
    Lack.GPU: {"gpu": True},
    Lack.X11: {"x11": True},
    Lack.MPI: {"mpi": True},
    Lack.NETWORK: {"network": False},
    Lack.READ_ONLY: {"binds": (Bind(Path("/srv"), "/srv", read_only=True),)},
}


@pytest.mark.parametrize(
    ("name", "lack"), [(name, lack) for name, kind in RUNTIMES.items() for lack in ASKED if lack in kind.lacks]
)
def test_what_a_runtime_lacks_is_never_silently_ignored(name: str, lack: Lack) -> None:
    image = Prepared("" if name == "host" else "sha256:1", "/nowhere")
    with pytest.raises(EnvironmentsError, match=f"The runtime {name} cannot"):
        find_runtime(name).command(image, Launch(("true",), **ASKED[lack]))


@pytest.mark.parametrize("path", ["relative", "/a/../b", "/a:b", "/a,b", '/a"b', "/a\nb"])
def test_a_path_that_a_runtime_would_read_as_its_own_is_refused(path: str) -> None:
    with pytest.raises(EnvironmentsError, match="cannot be bound"):
        find_runtime("host").command(Prepared("", ""), Launch(("true",), binds=(Bind(Path(path), path),)))


def test_a_plain_process_finds_its_own_software_first(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "which-one"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\npwd\n", encoding="utf-8")
    program.chmod(0o755)
    command = find_runtime("host").command(Prepared("", str(tmp_path)), Launch(("which-one",), folder="/usr"))
    done = run_as(None, command.argv, environment=command.environment)
    assert done.stdout == "/usr\n"
    with pytest.raises(EnvironmentsError, match="runs no image"):
        find_runtime("host").command(Prepared("sha256:1", ""), Launch(("true",)))

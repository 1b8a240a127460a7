"""A hub that is not root acts as its users through sudo and the launcher, as hub_config/deployment/sudoers says.

springtide-bob plays the hub's account, springtide-alice is its one user. All happens in a mount namespace whose /etc
and /usr/local/bin are writable layers over the machine's: what is installed there vanishes, even if the tests die.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from springtide.hub.process import unreadable_python
from springtide.share import share_path
from tests.support.accounts import Account, TwoUsers
from tests.support.need import require
from tests.support.processes import Daemon
from tests.support.slurm import Slurm

LAUNCHER = "/usr/local/bin/springtide-launch"
SITE_FILE = "/etc/springtide/launcher.json"
RULES = "/etc/sudoers.d/springtide"
LAYERED = ("/etc", "/usr/local/bin")


@dataclass(frozen=True)
class Machine:
    """This machine, with layers of its own over the folders that an administrator changes."""

    pid: int
    hub: Account
    user: Account
    slurm: Slurm

    def administer(self, command: str, stdin: str = "") -> None:
        subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", "sh", "-ec", command], input=stdin, text=True, check=True
        )

    def run(
        self,
        command: Sequence[str],
        stdin: str = "",
        *,
        account: Account | None = None,
        environment: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the hub's account, or another."""
        who = account or self.hub
        become = ["setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups", "--"]
        return subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", *become, *command],
            input=stdin,
            capture_output=True,
            text=True,
            check=check,
            cwd="/",
            env={**os.environ, **who.environment, **(environment or {})},
        )

    def python(self, body: str) -> list[str]:
        """Run Python as the hub's account, `queue` being its user's; return the lines it printed."""
        code = f"""
import asyncio, time
from pathlib import Path
from springtide.queues.accounts import UserQueue, account_of
from springtide.queues.model import JobRequest, new_job_token
from springtide.queues.commands import run_command
from springtide.queues.slurm.queue import SlurmQueue
queue = UserQueue(SlurmQueue(Path("/usr/bin"), run_command), account_of({self.user.name!r}, "user"))
async def main():
{body}
asyncio.run(main())
"""
        # Warnings are errors here as well: a process that nobody waits for would be one.
        return self.run([sys.executable, "-W", "error", "-c", code]).stdout.splitlines()

    def write_site(self, commands: Path | str) -> None:
        site = json.dumps({"commands": str(commands), "environment": self.slurm.environment})
        self.administer(f"mkdir -p {Path(SITE_FILE).parent} && cat >{SITE_FILE}", site)


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    require("root's rights, for a mount namespace", os.geteuid() == 0, "run the tests as root")
    folder = tmp_path_factory.mktemp("layers")
    keeper = Daemon("unshare", ["unshare", "--mount", "sh", "-ec", _layers(folder)], folder / "log")
    keeper.start()
    keeper.wait_ready((folder / "ready").exists, 10)
    yield keeper.pid
    keeper.stop()


def _layers(folder: Path) -> str:
    lines = [f"layers={folder}/upper; mkdir $layers; mount -t tmpfs none $layers"]
    for number, lower in enumerate(LAYERED):
        options = f"lowerdir={lower},upperdir=$layers/{number},workdir=$layers/work{number}"
        lines.append(f"mkdir $layers/{number} $layers/work{number}; mount -t overlay none -o {options} {lower}")
    return "\n".join([*lines, f"touch {folder}/ready", "exec sleep infinity"])


@pytest.fixture(scope="module")
def machine(namespace: int, two_users: TwoUsers, slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Follow the recipe in the deployment file, line by line."""
    require("sudo", shutil.which("sudo"))
    require("an installation that other accounts can read", not unreadable_python(), unreadable_python())
    machine = Machine(namespace, two_users.bob, two_users.alice, slurm)
    recipe = share_path("hub_config", "deployment", "sudoers").read_text()
    installs = re.findall(r"^#   (install .*)$", recipe, re.MULTILINE)
    checkout = tmp_path_factory.mktemp("checkout")
    (checkout / ".venv").symlink_to(sys.prefix)
    machine.administer(f"cd {checkout}; " + "; ".join(installs))
    machine.write_site(slurm.commands)
    machine.administer(f"groupadd --force springtide-users; usermod -aG springtide-users {machine.user.name}")
    machine.administer(f"cat >{RULES}; chmod 440 {RULES}", recipe.replace("springtide ALL", f"{machine.hub.name} ALL"))
    machine.administer("visudo --check --strict --quiet")
    return machine


SUBMIT = """
    token = new_job_token()
    body = f'''mkdir -p ~/.springtide; exec >~/.springtide/{token}.log; id -un; sleep 600'''
    job = await queue.submit(queue.queue.script(JobRequest(body, token, memory_bytes=2**26)))
    for _ in range(100):
        lines = await queue.log_tail(token)
        if lines:
            break
        await asyncio.sleep(0.2)
    print(job, lines[0], sep="\\n")
"""


def test_files_of_jobs_are_carried_as_the_user(machine: Machine, tmp_path: Path) -> None:
    content = tmp_path / "content"
    (content / "outputs").mkdir(parents=True)
    (content / "job.json").write_text("{}")
    for folder in (*tmp_path.parents, tmp_path, content):
        if folder.is_relative_to(tmp_path.parent.parent):
            folder.chmod(0o755)
    said = machine.python(
        f"""
    from springtide.broker.porters import Porter
    porter, folder = Porter(queue.account), queue.account.home / "springtide" / "jobs" / "carried"
    await porter.make(folder, Path({str(content)!r}))
    print((await porter.read(folder, "job.json")).data.decode(), await porter.read(folder, "none"))
"""
    )
    folder = machine.user.home / "springtide" / "jobs" / "carried"
    assert said == ["{} None"]
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (machine.user.uid, 0o700)


def test_a_job_is_submitted_read_and_cancelled_as_the_user(machine: Machine) -> None:
    said = machine.python(
        f"""{SUBMIT}
    print((await queue.check())["user"])
    await queue.cancel(job)
    await queue.remove_log(token)
    print(await queue.log_tail(token))
"""
    )
    user = machine.user
    assert said[1:] == [user.name, user.name, "[]"]
    assert machine.slurm.wait_for(said[0], "CANCELLED").user == user.name
    assert list((user.home / ".springtide").iterdir()) == []


def test_what_the_hub_has_in_its_environment_decides_nothing(machine: Machine, trap: Path) -> None:
    names = ("SPRINGTIDE_COMMANDS", "PYTHONHOME", "PYTHONPATH", "PATH", "HOME", "BASH_ENV", "LD_LIBRARY_PATH")
    options = [*(f"{name}={trap}" for name in names), "SLURM_CONF=/nowhere", "SUDO_USER=", "SBATCH_PARTITION=short"]
    request = json.dumps({"verb": "submit", "dialect": "slurm", "scripts": ["#!/bin/sh\nsleep 600"]})
    command = ["/usr/bin/env", *options, "/usr/bin/sudo", "-n", "-u", machine.user.name, "--", LAUNCHER]
    answer = json.loads(machine.run(command, request).stdout)
    job = machine.slurm.wait_for(answer["jobs"][0]["id"], "RUNNING", "PENDING")
    machine.slurm.cancel_all()
    assert (job.user, job.partition) == (machine.user.name, "batch")
    assert not (trap / "sprung").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        "-u {user} -- /usr/bin/id",
        "-u {user} -- /bin/sh -c id",
        "-u {user} -- {launcher} extra",
        "-u {user} SPRINGTIDE_COMMANDS=/tmp {launcher}",
        "-u {user} SLURM_CONF=/tmp/x {launcher}",
        "-u {user} --preserve-env=SPRINGTIDE_COMMANDS -- {launcher}",
        "-E -u {user} -- {launcher}",
        "-u {user} -s",
        "-u {user} -i",
        "-u root -- {launcher}",
        "-u nobody -- {launcher}",
        "-u {user} -g root -- {launcher}",
        "-u {user} -D /tmp -- {launcher}",
        "-u {user} -R /tmp -- {launcher}",
        "-e -u {user} /etc/hostname",
        "-- {launcher}",
    ],
)
def test_nothing_else_gets_through(machine: Machine, arguments: str) -> None:
    filled = arguments.format(user=machine.user.name, launcher=LAUNCHER).split()
    # What is not there is not asked to be preserved.
    variables = {"SPRINGTIDE_COMMANDS": "/tmp"}
    done = machine.run(["sudo", "-n", *filled], '{"verb": "check"}', environment=variables, check=False)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "sudo" in done.stderr


def test_the_user_gains_nothing_over_the_hub(machine: Machine) -> None:
    command = ["sudo", "-n", "-u", machine.hub.name, "--", LAUNCHER]
    done = machine.run(command, '{"verb": "check"}', account=machine.user, check=False)
    assert (done.returncode != 0, done.stdout) == (True, "")


def test_only_root_can_change_the_program_and_its_site_file(machine: Machine) -> None:
    for file in (LAUNCHER, SITE_FILE):
        for path in (Path(file), *Path(file).parents):
            owner, mode = machine.run(["stat", "--format=%u %a", str(path)]).stdout.split()
            assert owner == "0"
            assert not int(mode, 8) & 0o022, path


def test_a_launcher_that_hangs_is_an_answer_and_not_waited_for(machine: Machine, trap: Path) -> None:
    # sudo runs as root: the hub may not kill it.
    machine.write_site(trap)
    try:
        said = machine.python(
            f"""
    begun = time.monotonic()
    command = ["sudo", "-n", "-u", {machine.user.name!r}, "--", {LAUNCHER!r}]
    request = b'{{"verb": "cancel", "dialect": "slurm", "ids": ["1"]}}'
    answer = await run_command(command, stdin=request, timeout_s=1)
    print(answer.exit_status, time.monotonic() - begun < 4)
    print((await run_command(["true"])).exit_status)
"""
        )
    finally:
        machine.write_site(machine.slurm.commands)
    assert said == ["124 True", "0"]


@pytest.fixture
def trap() -> Iterator[Path]:
    """Yield a folder of commands that nobody should run, and of one that takes long."""
    with tempfile.TemporaryDirectory(prefix="springtide-sudo-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "json.py").write_text(f"open('{folder}/sprung', 'w')")
        for program, script in {"sbatch": f"touch {folder}/sprung", "scancel": "exec sleep 6"}.items():
            (folder / program).write_text(f"#!/bin/sh\n{script}\n")
            (folder / program).chmod(0o755)
        yield folder

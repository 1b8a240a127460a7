"""A hub that is not root acts as its users through sudo and the launcher, exactly as hub_config/deployment/sudoers says.

springtide-bob plays the hub's account, springtide-alice is its one user.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from springtide.hub.process import unreadable_python
from springtide.share import share_path
from tests.support.accounts import TwoUsers, run_as
from tests.support.need import require
from tests.support.slurm import Slurm

LAUNCHER = Path("/usr/local/bin/springtide-launch")
SITE_FILE = Path("/etc/springtide/launcher.json")
GROUP = "springtide-test-users"
RULES = Path("/etc/sudoers.d/springtide-tests")


@contextmanager
def replaced(file: Path) -> Iterator[None]:
    """Put back at the end what `file` is now, or that it is not."""
    kept = file.read_bytes() if file.exists() else None
    mode = file.stat().st_mode if file.exists() else 0
    made = [folder for folder in file.parents if not folder.exists()]
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        if kept is not None:
            file.write_bytes(kept)
            file.chmod(mode)
        for folder in made:
            if folder.exists():
                folder.rmdir()


def administer(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def hub_account(two_users: TwoUsers, slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoUsers]:
    """Follow the recipe in the deployment file, step by step, and undo it."""
    require("sudo", shutil.which("sudo"))
    require("an installation that other accounts can read", not unreadable_python(), unreadable_python())
    recipe = share_path("hub_config", "deployment", "sudoers").read_text()
    (install,) = re.findall(r"^#   (install .*)$", recipe, re.MULTILINE)
    rules = recipe.replace("springtide ALL", f"{two_users.bob.name} ALL").replace("springtide-users", GROUP)
    checkout = tmp_path_factory.mktemp("checkout")
    (checkout / ".venv").symlink_to(sys.prefix)
    with ExitStack() as stack:
        for file in (LAUNCHER, SITE_FILE, RULES):
            stack.enter_context(replaced(file))
        subprocess.run(["sh", "-ec", install], cwd=checkout, check=True)
        SITE_FILE.parent.mkdir(exist_ok=True)
        write_site(slurm.commands, slurm)
        administer("/usr/sbin/groupadd", "--force", GROUP)
        stack.callback(administer, "/usr/sbin/groupdel", GROUP)
        administer("/usr/sbin/usermod", "--append", "--groups", GROUP, two_users.alice.name)
        RULES.touch(mode=0o440)
        RULES.write_text(rules)
        administer("/usr/sbin/visudo", "--check", "--strict", f"--file={RULES}")
        yield two_users


def write_site(commands: Path, slurm: Slurm) -> None:
    SITE_FILE.write_text(json.dumps({"commands": str(commands), "environment": slurm.environment}))


def as_hub(users: TwoUsers, body: str, **environment: str) -> list[str]:
    """Run Python as the hub's account, `queue` being its user's; return the lines it printed."""
    code = f"""
import asyncio, json, sys
from pathlib import Path
from springtide.errors import *
from springtide.queues.accounts import UserQueue, account_of
from springtide.queues.base import JobRequest, new_job_token
from springtide.queues.commands import run_command
from springtide.queues.slurm import SlurmQueue
queue = UserQueue(SlurmQueue(Path("/usr/bin"), run_command), account_of({users.alice.name!r}, "user"))
async def main():
{body}
asyncio.run(main())
"""
    # Warnings are errors here as well: a process that is not waited for would be one.
    command = [sys.executable, "-W", "error", "-c", code]
    return run_as(users.bob, command, environment=environment).stdout.splitlines()


def sudo(users: TwoUsers, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return run_as(users.bob, ["sudo", "-n", *arguments], stdin=stdin, check=False)


SUBMIT = """
    token = new_job_token()
    body = f'''mkdir -p ~/.springtide; exec >~/.springtide/{token}.log; id -un; env; sleep 600'''
    job = await queue.submit(queue.queue.script(JobRequest(body, token, memory_bytes=2**26)))
    for _ in range(100):
        lines = await queue.log_tail(token)
        if lines:
            break
        await asyncio.sleep(0.2)
    print(job, lines[0], sep="\\n")
"""


def test_a_job_is_submitted_read_and_cancelled_as_the_user(hub_account: TwoUsers, slurm: Slurm) -> None:
    said = as_hub(
        hub_account,
        f"""{SUBMIT}
    print((await queue.check())["user"])
    await queue.cancel(job)
    await queue.remove_log(token)
    print(await queue.log_tail(token))
""",
    )
    alice = hub_account.alice
    assert said[1:] == [alice.name, alice.name, "[]"]
    assert slurm.wait_for(said[0], "CANCELLED").user == alice.name
    assert list((alice.home / ".springtide").iterdir()) == []


def test_what_the_hub_has_in_its_environment_decides_nothing(
    hub_account: TwoUsers, slurm: Slurm, tmp_path_factory: pytest.TempPathFactory
) -> None:
    trap = hub_account.bob.home / "trap"
    trap.mkdir()
    (trap / "sbatch").write_text(f"#!/bin/sh\ntouch {trap}/sprung\n")
    (trap / "json.py").write_text(f"open('{trap}/sprung', 'w')")
    for file in (trap / "sbatch", trap):
        os.chown(file, hub_account.bob.uid, hub_account.bob.gid)
        file.chmod(0o777)
    hub_account.bob.home.chmod(0o711)
    names = ("SPRINGTIDE_COMMANDS", "PYTHONHOME", "PYTHONPATH", "PATH", "HOME", "BASH_ENV", "LD_LIBRARY_PATH")
    options = [f"{name}={trap}" for name in names] + ["SLURM_CONF=/nowhere", "SUDO_USER=", "SBATCH_PARTITION=short"]
    request = json.dumps({"verb": "submit", "dialect": "slurm", "script": "#!/bin/sh\nsleep 600"})
    command = ["env", *options, "/usr/bin/sudo", "-n", "-u", hub_account.alice.name, "--", str(LAUNCHER)]
    answer = json.loads(run_as(hub_account.bob, command, stdin=request).stdout)
    job = slurm.wait_for(answer["id"], "RUNNING", "PENDING")
    slurm.run(["scancel", answer["id"]])
    hub_account.bob.home.chmod(0o700)
    assert (job.user, job.partition) == (hub_account.alice.name, "batch")
    assert not (trap / "sprung").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["-u", "{alice}", "--", "/usr/bin/id"],
        ["-u", "{alice}", "--", "/bin/sh", "-c", "id"],
        ["-u", "{alice}", "--", "{launcher}", "extra"],
        ["-u", "{alice}", "--", "{launcher}", ""],
        ["-u", "{alice}", "SPRINGTIDE_COMMANDS=/tmp", "{launcher}"],
        ["-u", "{alice}", "SLURM_CONF=/tmp/x", "{launcher}"],
        ["-u", "{alice}", "--preserve-env=SPRINGTIDE_COMMANDS", "--", "{launcher}"],
        ["-E", "-u", "{alice}", "--", "{launcher}"],
        ["-u", "{alice}", "-s"],
        ["-u", "{alice}", "-i"],
        ["-u", "root", "--", "{launcher}"],
        ["-u", "nobody", "--", "{launcher}"],
        ["-u", "{alice}", "-g", "root", "--", "{launcher}"],
        ["-u", "{alice}", "-D", "/tmp", "--", "{launcher}"],
        ["-u", "{alice}", "-R", "/tmp", "--", "{launcher}"],
        ["-e", "-u", "{alice}", "/etc/hostname"],
        ["--", "{launcher}"],
    ],
    ids=" ".join,
)
def test_nothing_else_gets_through(hub_account: TwoUsers, arguments: list[str]) -> None:
    filled = [one.format(alice=hub_account.alice.name, launcher=LAUNCHER) for one in arguments]
    done = sudo(hub_account, *filled, stdin='{"verb": "check"}')
    assert done.returncode != 0
    assert done.stdout == ""


def test_the_user_herself_gains_nothing(hub_account: TwoUsers) -> None:
    command = ["sudo", "-n", "-u", hub_account.bob.name, "--", str(LAUNCHER)]
    done = run_as(hub_account.alice, command, stdin='{"verb": "check"}', check=False)
    assert (done.returncode != 0, done.stdout) == (True, "")


def test_only_root_can_change_the_program_and_its_site_file(hub_account: TwoUsers) -> None:
    for file in (LAUNCHER, SITE_FILE):
        for path in (file, *file.parents):
            status = path.stat()
            assert status.st_uid == 0
            assert not status.st_mode & 0o022, path


def test_a_launcher_that_hangs_is_an_answer_and_not_waited_for(
    hub_account: TwoUsers, slurm: Slurm, passable_folder: Path
) -> None:
    (passable_folder / "scancel").write_text("#!/bin/sh\nexec sleep 8\n")
    (passable_folder / "scancel").chmod(0o755)
    write_site(passable_folder, slurm)
    try:
        said = as_hub(
            hub_account,
            f"""
    import time
    begun = time.monotonic()
    request = b'{{"verb": "cancel", "dialect": "slurm", "id": "1"}}'
    command = ["sudo", "-n", "-u", {hub_account.alice.name!r}, "--", {str(LAUNCHER)!r}]
    answer = await run_command(command, stdin=request, timeout_s=1)
    print(answer.exit_status, time.monotonic() - begun < 4)
    print((await run_command(["true"])).exit_status)
""",
        )
    finally:
        write_site(slurm.commands, slurm)
    assert said == ["124 True", "0"]


@pytest.fixture
def passable_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="springtide-sudo-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)

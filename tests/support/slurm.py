"""A Slurm cluster of two nodes on this machine, with its own munge, ports and folders.

The nodes' names are loopback addresses, so that whoever reads a job's host from the queue can connect to it.
Run by root it accepts jobs of every account; run by an ordinary user, that user's.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.accounts import Account, run_as
from tests.support.network import free_port
from tests.support.processes import Daemon, all_processes
from tests.support.waiting import wait_until

NODES = ("127.0.0.2", "127.0.0.3")
CPUS_PER_NODE = 4
PBS_PROGRAMS = ("qsub", "qstat", "qdel", "pbsnodes")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", *PBS_PROGRAMS)

_SEARCH_PATH = "/usr/bin:/usr/sbin"
_FOLDER_PREFIX = "springtide-slurm-"
_LIVE_NODE_STATES = {"idle", "mixed", "allocated", "completing"}
# The name comes last, and each row has an end that no name holds: it may hold line breaks.
_ROW_END = f"|{secrets.token_hex(8)}"
_FORMAT = f"%i|%u|%T|%P|%r|%N|%j{_ROW_END}"

# config_overrides lets a node offer more cores than the machine has. Finished jobs stay visible for MinJobAge.
# Jobs start at once, instead of being collected for three seconds.
_CONFIGURATION = """\
ClusterName=springtide
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
EnforcePartLimits=ALL
MailProg=/bin/true
ReturnToService=2
MinJobAge={remembers_s}
MaxJobCount=30000
KillWait=5
MessageTimeout=5
{nodes}
PartitionName=batch Nodes=ALL Default=YES MaxTime=12:00:00 DefaultTime=01:00:00 DefMemPerCPU=256 State=UP
PartitionName=short Nodes=ALL MaxTime=00:10:00 DefaultTime=00:05:00 DefMemPerCPU=256 State=UP
"""


@dataclass(frozen=True)
class QueuedJob:
    """One line of ``squeue``."""

    id: str
    user: str
    state: str
    """Slurm's long word: PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, …."""
    partition: str
    reason: str
    nodes: str
    name: str


class Slurm:
    """A running cluster, in a folder of its own."""

    def __init__(self, folder: Path, remembers_s: int = 120) -> None:
        self.folder = folder
        self._remembers_s = remembers_s
        self.conf = folder / "slurm.conf"
        self.commands = Path("/usr/bin")
        self.environment = {"SLURM_CONF": str(self.conf)}
        """What programs need in their environment to find this cluster; also for qsub, qstat and qdel."""
        self._munge = self._daemon(
            "munged",
            "--foreground",
            *(f"--{name}={folder}/munge.{ending}" for name, ending in _MUNGE_FILES),
        )
        self._controller = self._daemon("slurmctld", "-D")
        self._port = 0
        self._nodes = {node: self._daemon("slurmd", "-D", "-N", node, log=f"slurmd-{node}") for node in NODES}

    def _daemon(self, program: str, *arguments: str, log: str = "") -> Daemon:
        path = shutil.which(program, path=_SEARCH_PATH) or program
        return Daemon(program, [path, *arguments], self.folder / f"{log or program}.log", self.environment)

    @property
    def logs(self) -> list[Path]:
        return [daemon.log for daemon in (self._munge, self._controller, *self._nodes.values())]

    def start(self) -> None:
        """Write the configuration, start all daemons, and return when both nodes take jobs."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={node} NodeAddr={node} Port={free_port(node)} "
            f"CPUs={CPUS_PER_NODE} RealMemory=4096"
            for node in NODES
        )
        self._port = free_port()
        self.conf.write_text(
            _CONFIGURATION.format(
                folder=self.folder,
                port=self._port,
                user=getpass.getuser(),
                remembers_s=self._remembers_s,
                nodes=nodes,
            )
        )
        self.start_munge()
        for node in self._nodes.values():
            node.start()
        self.start_controller()

    def stop(self) -> None:
        """Cancel every job and stop every daemon."""
        if self._controller.is_running:
            self.cancel_all()
        for daemon in (*self._nodes.values(), self._controller, self._munge):
            daemon.stop()
        _kill_those_of(self.folder)

    def stop_controller(self) -> None:
        """Stop slurmctld: squeue, sbatch, … fail, running jobs keep running."""
        self._controller.stop()

    def start_controller(self) -> None:
        """Start slurmctld with its saved state, and return when both nodes take jobs again."""
        self._controller.start()
        # Slurm's commands take seconds to find that nobody listens.
        self._controller.wait_ready(self._controller_listens, seconds=60)
        self._controller.wait_ready(self._nodes_are_live, seconds=60)

    def _controller_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def stop_munge(self) -> None:
        """Stop munged: every command fails, jobs and daemons go on."""
        self._munge.stop()

    def start_munge(self) -> None:
        self._munge.start()
        self._munge.wait_ready((self.folder / "munge.socket").is_socket, seconds=20)

    def kill_node(self, node: str) -> None:
        """Kill a node's slurmd as a crash would; its jobs go on, and the controller learns of it after minutes."""
        self._nodes[node].stop(signal.SIGKILL)

    def start_node(self, node: str) -> None:
        """Start a killed slurmd, and return when the nodes take jobs."""
        self._nodes[node].start()
        self._nodes[node].wait_ready(self._nodes_are_live, seconds=60)

    def fail_node(self, node: str) -> None:
        """Let the controller take a node for lost: its jobs end, or wait again where they may be run twice."""
        self.run(["scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test"])

    def restore_node(self, node: str) -> None:
        """Take a lost node back; one whose slurmd answers comes back by itself."""
        self.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"], check=False)
        wait_until(self._nodes_are_live, 30, f"{node} takes jobs", interval=0.2)

    def requeue(self, identifier: str) -> None:
        """Put a running job back into the queue, where it waits for two minutes."""
        self.run(["scontrol", "requeue", identifier])

    def expire(self, identifier: str) -> None:
        """Let a running job's walltime be over; the controller looks at it every 30 seconds."""
        self.run(["scontrol", "update", f"JobId={identifier}", "EndTime=now"])

    def fill_history(self, count: int) -> None:
        """Let the controller remember `count` more jobs that were cancelled before they began."""
        script = self.folder / "forgettable.sh"
        script.write_text("#!/bin/sh\ntrue\n")
        submit = 'for one; do sbatch --quiet --hold --chdir=/tmp --output=/dev/null "$0"; done'
        # Several at once, as most of each is the command's own start.
        loop = f"seq {count} | xargs -P 3 -n 250 sh -c '{submit}' {script}"
        environment = {**os.environ, **self.environment}
        subprocess.run(["sh", "-c", loop], check=True, stdout=subprocess.DEVNULL, env=environment)
        self.run(["scancel", "--name=forgettable.sh"])

    def pbs_commands(self, folder: Path) -> Path:
        """Fill `folder` with the PBS commands alone, as at a site without sbatch and squeue at hand."""
        for name in PBS_PROGRAMS:
            # A script, not a link: qsub looks for sbatch beside itself.
            (folder / name).write_text(f'#!/bin/sh\nexec {self.commands / name} "$@"\n')
            (folder / name).chmod(0o755)
        return folder

    def _nodes_are_live(self) -> bool:
        answer = self.run(["sinfo", "--noheader", "--Node", "--partition=batch", "--format=%T"], check=False)
        states = answer.stdout.split()
        return len(states) == len(NODES) and set(states) <= _LIVE_NODE_STATES

    def run(
        self, command: Sequence[str], account: Account | None = None, *, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands against this cluster, as `account` and in its home if one is given."""
        program, *arguments = command
        path = str(self.commands / program)
        return run_as(account, [path, *arguments], environment=self.environment, stdin=stdin, check=check)

    def jobs(self, *, finished: bool = False) -> list[QueuedJob]:
        """Return the jobs that wait or run; with `finished`, also those that are remembered."""
        states = ["--states=all"] if finished else []
        answer = self.run(["squeue", "--noheader", *states, f"--format={_FORMAT}"])
        return [QueuedJob(*row.split("|", 6)) for row in answer.stdout.split(f"{_ROW_END}\n")[:-1]]

    def job(self, identifier: str) -> QueuedJob | None:
        return next((job for job in self.jobs(finished=True) if job.id == identifier), None)

    def wait_for(self, identifier: str, *states: str, seconds: float = 30) -> QueuedJob:
        """Return the job once it is in one of `states`."""

        def in_a_wanted_state() -> QueuedJob | None:
            job = self.job(identifier)
            return job if job and job.state in states else None

        return wait_until(in_a_wanted_state, seconds, f"job {identifier} is {' or '.join(states)}", interval=0.2)

    def cancel_all(self, *, but: Collection[str] = ()) -> None:
        """Cancel every job but these, and return when none of them waits or runs."""

        def others() -> list[str]:
            # Without the waiting rest of an array, "12_[3-9%2]", which scancel does not take.
            return [job.id.partition("_[")[0] for job in self.jobs() if job.id not in but]

        identifiers = others()
        if identifiers:
            self.run(["scancel", *identifiers], check=False)
            wait_until(lambda: not others(), 30, "all jobs have ended", interval=0.2)


_MUNGE_FILES = (
    ("socket", "socket"),
    ("key-file", "key"),
    ("log-file", "log"),
    ("pid-file", "pid"),
    ("seed-file", "seed"),
)


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if not shutil.which(name, path=_SEARCH_PATH)]


@contextmanager
def running_slurm(remembers_s: int = 120) -> Iterator[Slurm]:
    """Yield a cluster that takes jobs and remembers ended ones for `remembers_s`; at the end remove all of it."""
    _remove_those_of_dead_runs()
    # In /tmp itself: a socket's path may have no more than 107 characters, and jobs of all accounts read the folder.
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", dir="/tmp"))
    folder.chmod(0o755)
    cluster = Slurm(folder, remembers_s)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_those_of_dead_runs() -> None:
    """Daemons die with their tests, job steps do not: end those of runs that were killed."""
    for folder in Path("/tmp").glob(f"{_FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        if folder.stat().st_uid == os.geteuid() and not Path("/proc", owner).exists():
            _kill_those_of(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _kill_those_of(folder: Path) -> None:
    marker = f"SLURM_CONF={folder}/slurm.conf"
    for process in all_processes():
        if process.pid != os.getpid() and process.mentions(marker):
            process.kill()

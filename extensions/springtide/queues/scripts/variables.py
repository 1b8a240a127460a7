"""What a script finds in its environment: the variables it was promised, and those of the scheduler it was written for.

Variables travel as lines of the script, never in ``qsub -v``: that one mangles quotes and commas, and shows every value
to everybody who asks for the job. Only what the script mentions is set, as programs such as Open MPI take the presence
of a scheduler's variable for the scheduler's.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SHELL = re.compile(r"/\S*/(?:ba|da|k|z)?sh(?:\s.*)?")
# What belongs to one terminal, one login or one job, and must not follow into another.
_NOT_CARRIED = re.compile(
    r"_|PWD|OLDPWD|SHLVL|TERM.*|COLUMNS|LINES|DISPLAY|WAYLAND_.*|SSH_.*|XDG_.*|DBUS_.*|TMPDIR|HOSTNAME|HOST|LS_COLORS"
    r"|BASH_FUNC_.*|BASH_ENV|ENV|HOME|USER|LOGNAME|SHELL|MAIL|PBS_.*|SLURM_.*|SBATCH_.*|INVOCATION_ID|JOURNAL_STREAM"
)
_SECRET = re.compile(
    r".*(TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY).*|.*_(KEY|PAT)|JUPYTERHUB_.*"
)

# How each dialect's own job tells its id, its array's index and its nodes' names.
_OWN = {
    "pbspro": ("$PBS_JOBID", "$PBS_ARRAY_INDEX", 'sort -u "$PBS_NODEFILE"'),
    "torque": ("$PBS_JOBID", "$PBS_ARRAYID", 'sort -u "$PBS_NODEFILE"'),
    "slurm": ("$SLURM_JOB_ID", "$SLURM_ARRAY_TASK_ID", 'scontrol show hostnames "$SLURM_JOB_NODELIST"'),
    "slurm-pbs": ("$SLURM_JOB_ID", "$SLURM_ARRAY_TASK_ID", 'scontrol show hostnames "$SLURM_JOB_NODELIST"'),
    "local": ("$PBS_JOBID", "$PBS_ARRAY_INDEX", 'sort -u "$PBS_NODEFILE"'),
}
_SLURM = ("slurm", "slurm-pbs")
# Where PBS Pro and Torque call the same thing differently, both names are set.
_DIFFERS = {
    "pbspro": ("PBS_ARRAYID", "PBS_NP", "PBS_NUM_PPN", "PBS_NUM_NODES"),
    "torque": ("PBS_ARRAY_INDEX", "NCPUS"),
}


@dataclass(frozen=True)
class Shape:
    """What a script's variables tell of its job."""

    name: str
    folder: str
    queue: str
    nodes: int
    cores: int
    ranks: int


def is_posix_shell(shell: str) -> bool:
    """Whether `shell`, the text behind ``#!``, reads ``export NAME=value``."""
    return bool(_SHELL.fullmatch(shell.removeprefix("/usr/bin/env ").strip())) or shell in (
        f"/usr/bin/env {name}" for name in ("sh", "bash", "dash", "ksh", "zsh")
    )


def carried_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what of the submitter's `environment` follows into the job, and the names of secrets left behind."""
    named = {name: value for name, value in environment.items() if _NAME.fullmatch(name)}
    kept = {name: value for name, value in named.items() if not _NOT_CARRIED.fullmatch(name) and _is_text(value)}
    secrets = sorted(name for name in kept if _SECRET.fullmatch(name.upper()))
    return {name: value for name, value in sorted(kept.items()) if name not in secrets}, secrets


def _is_text(value: str) -> bool:
    # A CR or a NUL cannot stand in a script, nor bytes that are no text.
    return not any(character in "\r\0" or 0xD800 <= ord(character) < 0xE000 for character in value)


def exports(variables: Mapping[str, str]) -> list[str]:
    """Return the shell lines that set `variables`."""
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def cd(folder: str) -> str:
    """Return the shell line that enters `folder`, or ends the job; ``~`` is its user's home."""
    place = '"$HOME"' if folder == "~" else shlex.quote(folder)
    return f"cd -- {place} || exit"


def scheduler_variables(body: str, dialect: str, shape: Shape) -> list[str]:
    """Return shell lines for the variables of other schedulers that `body` mentions."""
    wanted = _mentioned(body)
    own = "SLURM_" if dialect in _SLURM else ("PBS_", "NCPUS")
    values = _values(dialect, shape)
    lines = []
    for name in sorted(wanted & values.keys()):
        if not name.startswith(own) or name in _DIFFERS.get(dialect, ()):
            lines.append(f"export {name}={values[name]}")
    if "PBS_NODEFILE" in wanted and dialect in _SLURM:
        lines += _node_file(dialect, shape.ranks or shape.cores)
    return lines


def _mentioned(body: str) -> set[str]:
    return set(re.findall(r"\b(?:PBS|SLURM)_\w+|\bNCPUS\b", body))


def _values(dialect: str, shape: Shape) -> dict[str, str]:
    job_id, index, nodes = _OWN.get(dialect, _OWN["local"])
    ranks = shape.ranks or shape.cores
    name, folder = shlex.quote(shape.name), shlex.quote(shape.folder)
    return {
        "PBS_JOBID": f'"{job_id}"',
        "PBS_JOBNAME": name,
        "PBS_QUEUE": shlex.quote(shape.queue),
        "PBS_O_WORKDIR": folder,
        "PBS_O_HOME": '"$HOME"',
        "PBS_O_LOGNAME": '"$LOGNAME"',
        "PBS_O_PATH": '"$PATH"',
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_ARRAY_INDEX": f'"{index}"',
        "PBS_ARRAYID": f'"{index}"',
        "PBS_NP": str(ranks * shape.nodes),
        "PBS_NUM_NODES": str(shape.nodes),
        "PBS_NUM_PPN": str(shape.cores),
        "NCPUS": str(shape.cores),
        "SLURM_JOB_ID": f'"{job_id}"',
        "SLURM_JOBID": f'"{job_id}"',
        "SLURM_JOB_NAME": name,
        "SLURM_JOB_PARTITION": shlex.quote(shape.queue),
        "SLURM_SUBMIT_DIR": folder,
        "SLURM_ARRAY_TASK_ID": f'"{index}"',
        "SLURM_ARRAY_JOB_ID": f'"{job_id}"',
        "SLURM_NTASKS": str(ranks * shape.nodes),
        "SLURM_NPROCS": str(ranks * shape.nodes),
        "SLURM_NTASKS_PER_NODE": str(ranks),
        "SLURM_TASKS_PER_NODE": str(ranks),
        "SLURM_CPUS_PER_TASK": str(max(1, shape.cores // ranks)),
        "SLURM_CPUS_ON_NODE": str(shape.cores),
        "SLURM_JOB_NUM_NODES": str(shape.nodes),
        "SLURM_NNODES": str(shape.nodes),
        "SLURM_JOB_NODELIST": f'"$({nodes} | paste -sd, -)"',
        "SLURM_NODELIST": f'"$({nodes} | paste -sd, -)"',
    }


def _node_file(dialect: str, ranks: int) -> list[str]:
    """Write the names of the nodes, each as often as it has processes, as PBS does."""
    _, _, nodes = _OWN.get(dialect, _OWN["local"])
    repeat = f'while read -r node; do for _ in $(seq {ranks}); do echo "$node"; done; done'
    return ["export PBS_NODEFILE=$(mktemp)", f'{nodes} | {repeat} > "$PBS_NODEFILE"']


def preamble(lines: Sequence[str]) -> str:
    """Return `lines` as the beginning of a script, marked as not the user's own."""
    return "\n".join(["# Added by springtide submit:", *lines, "# The script itself:", ""]) if lines else ""

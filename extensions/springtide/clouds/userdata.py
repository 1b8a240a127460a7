"""The first script of a machine that is to be one Dask worker: for cloud-init and the small init of QEMU alike.

The machine ends with its worker, and the worker ends when it cannot reach its scheduler, at the end of its lifetime, or
when it has had nothing to do and holds nothing for too long. A worker that hangs is ended with the machine somewhat
later. What the script holds can be read at the cloud by whoever may read the machine's metadata: a worker's own
short-lived key, and nothing else that is secret.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from springtide.errors import CloudRefused

LONGEST_BYTES = 49_000
"""OpenStack takes 65,535 characters of base64."""
_FOLDER = "/var/lib/springtide"
_PEM = re.compile(r"[A-Za-z0-9+/= \n:-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HANGS_S = 120
_IDLE_WATCH = Path(__file__).with_name("idle_watch.py")


@dataclass(frozen=True)
class WorkerOptions:
    """What one worker on a machine of its own needs."""

    scheduler: str
    """Its address as the machine reaches it: ``tls://10.78.0.1:8786``."""
    name: str
    """The worker's name, under which its cluster expects it."""
    authority: str = field(repr=False)
    """Certificate of the cluster's authority, as PEM."""
    certificate: str = field(repr=False)
    """The worker's certificate, as PEM."""
    key: str = field(repr=False)
    """The worker's own private key, as PEM."""
    lifetime_s: float
    """How long it works; then it hands over its results and ends."""
    death_timeout_s: float = 60.0
    """It ends when it has not reached its scheduler for so long."""
    idle_s: float = 0.0
    """It ends after so long without work and results; 0: never. A worker with results is not idle: they would be lost
    with it."""
    threads: int = 0
    """0: one for each core."""
    memory_limit: str = "auto"
    """What Dask may fill: ``auto``, or a size."""
    nanny: bool = True
    """Whether a second process starts a worker again that ran out of memory."""
    worker_ports: str = ""
    """Range of ports where others reach it, ``9000:9100``; empty: any."""
    python: str = "python3"
    """The environment's Python."""
    wrapper: tuple[str, ...] = ()
    """What runs the worker's command in the environment's image, where that is not the machine's own: ``apptainer exec
    IMAGE``. It has to let the worker see the folder it is started in."""
    account: int = 1000
    """Number of the account that the worker runs as; 0: root."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables, nothing secret."""
    options: tuple[str, ...] = ()
    """Further options of ``dask worker``."""


def worker_script(options: WorkerOptions) -> str:
    """Return the script.

    Raises
    ------
    CloudRefused
        If it would be longer than clouds take, or a value cannot stand in it.
    """
    script = "\n".join(
        (
            "#!/bin/sh",
            "# Springtide: one Dask worker; this machine ends with it.",
            *_ending(options),
            *_files(options),
            *_variables({**options.variables, "SPRINGTIDE_IDLE_S": f"{options.idle_s:g}"}),
            *_work(options),
            "",
        )
    )
    if len(script.encode()) > LONGEST_BYTES:
        raise CloudRefused(
            f"The first script of the machine of {options.name} has {len(script.encode())} bytes.",
            f"Clouds take {LONGEST_BYTES}: pass what is large in another way.",
        )
    return script


def _ending(options: WorkerOptions) -> list[str]:
    """Return the lines that power the machine off, whatever happens."""
    grace_s = options.lifetime_s + options.death_timeout_s + _HANGS_S
    return [
        "off() {",
        "    sync",
        # The small init powers off by itself when this script ends.
        '    [ -n "$SPRINGTIDE_INIT" ] && [ "$1" != now ] && return',
        "    [ -d /run/systemd/system ] && systemctl poweroff --force --no-block && sleep 10",
        "    echo o > /proc/sysrq-trigger",
        "}",
        "trap off EXIT",
        f"(sleep {math.ceil(grace_s)}; echo 'springtide: the worker outlived its time'; off now) &",
        "guard=$!",
    ]


def _files(options: WorkerOptions) -> list[str]:
    """Return the lines that write the key and what watches for idleness, for the worker's account alone."""
    texts = {
        "authority.pem": _checked_pem(options.authority, "the authority's certificate"),
        "worker.pem": _checked_pem(options.certificate, "the worker's certificate"),
        "worker.key": _checked_pem(options.key, "the worker's key"),
    }
    if options.idle_s:
        texts["idle_watch.py"] = _IDLE_WATCH.read_text(encoding="utf-8")
    lines = ["umask 077", f"mkdir -p {_FOLDER}/worker", f"cd {_FOLDER}/worker || exit 1"]
    for name, text in texts.items():
        lines += [f"cat > {name} <<'SPRINGTIDE_END'", text.rstrip("\n"), "SPRINGTIDE_END"]
    if options.account:
        lines.append(f"chmod 711 {_FOLDER} && chown -R {options.account}:{options.account} {_FOLDER}/worker")
    return lines


def _variables(variables: Mapping[str, str]) -> list[str]:
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise CloudRefused(f"{name!r} is no name of a variable.", "Letters, digits and '_', no digit first.")
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def _work(options: WorkerOptions) -> list[str]:
    host = urlsplit(options.scheduler).hostname
    if not host or not options.scheduler.startswith("tls://"):
        raise CloudRefused(f"{options.scheduler!r} is no address of a scheduler.", "tls://HOST:PORT")
    account = f"setpriv --reuid={options.account} --regid={options.account} --clear-groups " if options.account else ""
    own = "import socket, sys; s = socket.socket(2, 2); s.connect((sys.argv[1], 9)); print(s.getsockname()[0])"
    return [
        f"export HOME={_FOLDER}/worker",
        # Never a guessed address: others connect to the worker by it, and it may have several.
        f"address=$({shlex.join((*options.wrapper, options.python))} -c {shlex.quote(own)} {shlex.quote(host)})",
        'echo "springtide: the worker starts at $address"',
        f'{account}{shlex.join(_command(options))} --host "$address"',
        "status=$?",
        'kill "$guard"',
        'echo "springtide: the worker ended with $status"',
        "exit $status",
    ]


def _command(options: WorkerOptions) -> list[str]:
    command = [
        *options.wrapper,
        *(options.python, "-m", "distributed.cli.dask_worker", options.scheduler),
        *("--name", options.name),
        *("--tls-ca-file", "authority.pem", "--tls-cert", "worker.pem", "--tls-key", "worker.key"),
        *("--lifetime", f"{math.ceil(options.lifetime_s)}s"),
        *("--death-timeout", f"{math.ceil(options.death_timeout_s)}s"),
        *("--nthreads", str(options.threads), "--memory-limit", options.memory_limit),
        *("--local-directory", f"{_FOLDER}/worker", "--no-dashboard"),
        "--nanny" if options.nanny else "--no-nanny",
    ]
    if options.idle_s:
        command += ["--preload", f"{_FOLDER}/worker/idle_watch.py"]
    if options.worker_ports:
        command += ["--worker-port", options.worker_ports]
    return [*command, *options.options]


def _checked_pem(text: str, what: str) -> str:
    # A line that ends the file in the script would have what follows run as root.
    if not text.startswith("-----BEGIN ") or not _PEM.fullmatch(text):
        raise CloudRefused(f"{what[0].upper()}{what[1:]} is not PEM.")
    return text

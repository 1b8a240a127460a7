"""The broker as the hub’s service: where it listens, how it starts, what users’ tokens may do, what sessions get.

It runs where the lab has a batch site that was found: who has a container on this machine submits there through it.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from springtide.broker.scopes import ALL, DESCRIPTIONS, SERVICE, SUBMIT, USE
from springtide.hub.reach import hub_address
from springtide.hub.state import StateDirectory
from springtide.jobs.transport import BROKER_VARIABLE
from springtide.lab.models import Lab

PREFIX = f"/services/{SERVICE}/"
_ADMINISTRATORS = "springtide-jobs-admin"
_PORT_FILE = "broker-port"
_KEPT_VARIABLES = ("PBS_CONF_FILE", "PBS_SERVER", "PBS_DEFAULT", "SLURM_CONF", "HOME", "USER", "LOGNAME", "LANG")
# Held while the hub lives: see `_hold`.
_held: dict[tuple[str, int], socket.socket] = {}


def add_broker(c: Any, lab: Lab, state: StateDirectory, lab_file: Path) -> str:
    """Add the broker to JupyterHub's configuration `c`; return its address."""
    host = hub_address(lab)
    address = f"http://{host}:{_port(host, state)}"
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    c.JupyterHub.services += [
        {
            "name": SERVICE,
            "url": address,
            "display": False,
            "command": [
                # A hub that is killed does not stop its services: this one ends with it by itself.
                *("setpriv", "--pdeathsig", "TERM"),
                *(sys.executable, "-m", "springtide.broker.service"),
            ],
            "environment": {
                **kept,
                "SPRINGTIDE_LAB": str(lab_file.absolute()),
                "SPRINGTIDE_STATE": str(state.path),
            },
        }
    ]
    c.JupyterHub.custom_scopes = DESCRIPTIONS
    c.JupyterHub.load_roles += [
        {"name": "user", "scopes": ["self", USE, SUBMIT]},
        {"name": _ADMINISTRATORS, "scopes": [USE, ALL], "users": sorted(lab.authentication.admins)},
    ]
    # What an administrator's own session runs may not see everybody's jobs.
    c.Spawner.server_token_scopes = ["users:activity!user", "access:servers!server", USE, SUBMIT]
    return address


def session_variables(broker: str, hub: str) -> Mapping[str, str]:
    """Return what a session needs to find the broker: on the host on which it finds the hub.

    Parameters
    ----------
    broker : str
        The broker's address, "" where there is none.
    hub : str
        The hub's address as the session has it, "" where that is the usual one.
    """
    if not broker:
        return {}
    host = urlsplit(hub).hostname or urlsplit(broker).hostname
    return {BROKER_VARIABLE: f"http://{host}:{urlsplit(broker).port}{PREFIX}"}


def _port(host: str, state: StateDirectory) -> int:
    """Return the broker's port: the same as last time, as sessions know it, unless that is taken."""
    file = state.run / _PORT_FILE
    former = int(file.read_text()) if file.exists() else 0
    port = _hold(host, former) or _hold(host, 0)
    file.write_text(f"{port}\n")
    return port


def _hold(host: str, port: int) -> int:
    """Take a port for as long as this process lives, without listening; return it, 0 where it is taken.

    Only processes of the same account can share it: while the broker is down, nobody else gets the tokens that
    sessions send there.
    """
    if (host, port) in _held:
        return port
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        holder.bind((host, port))
    except OSError:
        holder.close()
        return 0
    port = int(holder.getsockname()[1])
    _held[(host, port)] = holder
    return port

"""How an image becomes a process: one small module for each container runtime, all saying the same of themselves.

``base`` is the contract, ``asked`` what the modules share, ``find_runtime`` the table of them. A process comes out the
same under every runtime: the account, groups, umask, working folder, binds and variables of its `Launch`, and an image
that cannot be written to. What differs: ``/tmp`` is the machine's own without an engine, and under udocker the account
sees itself as root.

May import ``environments``' own modules and what these may; knows nothing of sites, queues or the hub.
"""

from __future__ import annotations

from springtide.environments.runtimes.apptainer import Apptainer, Singularity
from springtide.environments.runtimes.base import Bind as Bind
from springtide.environments.runtimes.base import Command as Command
from springtide.environments.runtimes.base import Form as Form
from springtide.environments.runtimes.base import Lack as Lack
from springtide.environments.runtimes.base import Launch as Launch
from springtide.environments.runtimes.base import Prepared as Prepared
from springtide.environments.runtimes.base import Runtime as Runtime
from springtide.environments.runtimes.charliecloud import Charliecloud
from springtide.environments.runtimes.docker import Docker
from springtide.environments.runtimes.host import Host
from springtide.environments.runtimes.podman import Podman
from springtide.environments.runtimes.udocker import Udocker
from springtide.errors import EnvironmentsError

RUNTIMES: dict[str, type[Runtime]] = {
    runtime.name: runtime for runtime in (Docker, Apptainer, Singularity, Udocker, Charliecloud, Podman, Host)
}
"""Every runtime by the name that lab files have for it."""


def find_runtime(name: str, form: Form | None = None, program: str = "") -> Runtime:
    """Return the runtime called `name`; whether this machine has it, its `version` says.

    Parameters
    ----------
    form : Form, optional
        In what form it is to take images, where it knows more than one: apptainer a SIF (its usual one) or a folder.
    program : str, optional
        Where its program is on the machine that is to run it; empty: on PATH of this one.

    Raises
    ------
    EnvironmentsError
        If there is no such runtime, or it does not take that form.
    """
    if name not in RUNTIMES:
        raise EnvironmentsError(f"There is no runtime “{name}”.", f"It is one of {', '.join(RUNTIMES)}.")
    kind = RUNTIMES[name]
    runtime = kind(form or Form.SIF) if issubclass(kind, Apptainer) else kind()
    runtime.program = program
    if form not in (None, runtime.form):
        raise EnvironmentsError(
            f"The runtime {name} takes no image in the form “{form.value if form else ''}”.",
            f"Its form is “{runtime.form.value}”.",
        )
    return runtime

"""What every container runtime does, whatever its command line.

A runtime turns a prepared image and a `Launch` into the argv and the environment of one ordinary process. It starts
nothing itself: sessions, kernels, workers and jobs do, each in its own way.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from springtide.environments.packages import DIGEST_VARIABLE


class Form(enum.Enum):
    """In what form a runtime wants an image."""

    ENGINE = "engine"
    """In the store of an engine on this machine, named by its digest."""
    SIF = "sif"
    """One file, as Apptainer reads it."""
    FOLDER = "folder"
    """An unpacked root file system."""
    NONE = "none"
    """No image: the software of the machine itself."""


class Lack(enum.Enum):
    """What a runtime cannot do. Asking for it is an error, never silently ignored."""

    CORES = "cores"
    MEMORY = "memory"
    PROCESSES = "processes"
    GPU = "gpu"
    X11 = "x11"
    MPI = "mpi"
    """Ranks that a launcher on the host starts, one container each."""
    NETWORK = "network"
    """A network of its own."""
    READ_ONLY = "read-only"
    """Binds that cannot be written."""
    ISOLATION = "isolation"
    """Anything of the image at all: ``host``."""


@dataclass(frozen=True)
class Prepared:
    """An image in the form that a runtime takes."""

    digest: str
    """``sha256:…`` of the image's configuration, the same under every runtime; empty for ``host``."""
    place: str
    """The engine's name for it, or the path of the SIF or the folder; for ``host``: the prefix of the software, or
    empty for what is on PATH."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The image's own variables, where `place` is a folder: a folder cannot say them itself."""
    folder: str = ""
    """The image's own working folder."""


@dataclass(frozen=True)
class Bind:
    """A folder or file of the machine that is seen inside."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Launch:
    """One process to be started in an image. It runs as the account that starts it, under every runtime."""

    command: tuple[str, ...]
    """Program and arguments, inside the image."""
    name: str = ""
    """Of the container, where the runtime knows names: what finds it again, and what ends it."""
    binds: tuple[Bind, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the image's own. Values never stand in an argv: they may be secrets."""
    folder: str = ""
    """Working folder inside; empty: the image's own where it has one, else "/". Under ``host``: the caller's own."""
    cores: float | None = None
    memory_bytes: int | None = None
    processes: int | None = None
    gpu: bool = False
    x11: bool = False
    """A window on this machine's ``DISPLAY``."""
    mpi: bool = False
    network: bool = True
    """Whether the machine's network is seen."""


@dataclass(frozen=True)
class Command:
    """What starts a process in an image."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    """To be added to the environment of the process that is started."""


class Runtime(ABC):
    """A container runtime of this machine."""

    name: str
    """What lab files call it."""
    form: Form
    """In what form it takes an image."""
    lacks: frozenset[Lack] = frozenset()
    program: str = ""
    """Where its program is on the machine that is to run it, if that is another one; empty: on PATH of this one."""

    @abstractmethod
    def version(self) -> str:
        """Return its version, after asking its command. Called by the doctor, and before an image is prepared.

        Raises
        ------
        EnvironmentsError
            If it is not on this machine, or does not work for this account; the hint says what to do.
        """

    def command(self, image: Prepared, launch: Launch) -> Command:
        """Return what starts `launch` in `image`. Called by whoever starts sessions, kernels, workers and jobs.

        Inside, `springtide.environments.this_image` finds the image's digest.

        Raises
        ------
        EnvironmentsError
            If the runtime lacks something that `launch` asks for.
        """
        named = {DIGEST_VARIABLE: image.digest} if image.digest else {}
        return self._command(image, replace(launch, environment={**launch.environment, **named}))

    @abstractmethod
    def _command(self, image: Prepared, launch: Launch) -> Command:
        """Return it in the runtime's own words."""

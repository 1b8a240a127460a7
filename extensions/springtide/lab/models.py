"""What a lab file may say.

Every model forbids unknown keys. Durations and memory sizes are parsed into seconds and bytes here,
so nothing downstream ever sees "2G" or "1h30m".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from springtide.units import parse_memory, parse_walltime

Memory = Annotated[int, BeforeValidator(parse_memory)]
Duration = Annotated[int, BeforeValidator(parse_walltime)]
Port = Annotated[int, Field(ge=1, le=65535)]

NAME_FORM = "1 to 30 lower-case letters, digits and '-', starting with a letter"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(NAME_FORM)
    return name


def _check_one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("one line of printable characters")
    return text


Name = Annotated[str, AfterValidator(_check_name)]
OneLine = Annotated[str, AfterValidator(_check_one_line)]
BatchKind = Literal["pbspro", "torque", "slurm"]
BATCH_KINDS: tuple[BatchKind, ...] = ("pbspro", "torque", "slurm")


class Model(BaseModel):
    """Base of all lab file models: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Text(Model):
    """A text shown to people: a plain string, or ``{en: …, fr: …}``."""

    en: OneLine
    fr: OneLine = ""

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"en": value} if isinstance(value, str) else value

    def in_language(self, language: str) -> str:
        """Return the text in `language` ("en" or "fr"), English where there is no translation."""
        return self.fr if language == "fr" and self.fr else self.en


class LabIdentity(Model):
    """How the lab presents itself."""

    name: OneLine = "Springtide"
    """Shown on the login page and in the page titles."""


class Hub(Model):
    """Where the platform listens and what it keeps."""

    address: str = "127.0.0.1"
    """Address browsers connect to. Loopback unless TLS ends in front of it."""
    port: Port = 8000
    """Port browsers connect to."""
    api_address: str = "auto"
    """Address on which the hub's API listens for sessions. ``auto``: Docker's bridge where containers are offered,
    else loopback. A lab whose batch nodes are other machines names this machine's address on their network."""
    api_port: Port = 8081
    proxy_api_port: Port = 8001
    state_directory: Path | None = None
    """Where users, homes, secrets and logs live. Default: /var/lib/springtide for root,
    ~/.local/share/springtide for an ordinary user."""
    database: str = ""
    """SQLAlchemy URL of the hub's database. Default: SQLite in the state directory."""
    idle_timeout: Duration | Literal["never"] = 3 * 3600
    """A session without activity for this long is stopped."""
    concurrent_starts: Annotated[int, Field(ge=1, le=1000)] = 100
    """How many sessions may be starting at once; more wait."""


class Authentication(Model):
    """Who may log in."""

    kind: Literal["shared-password", "pam", "custom"] = "shared-password"
    """``shared-password``: any name with the one generated password, on loopback only. ``pam``: the machine's
    accounts. ``custom``: ``class`` names a JupyterHub authenticator (OAuth, LDAP, …)."""
    authenticator_class: str = Field(default="", alias="class")
    """For ``custom``: the authenticator's entry point name or class path."""
    options: dict[str, dict[str, Any]] = {}
    """For ``custom``: traitlets configuration, ``ClassName: {trait: value}``."""
    admins: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    """Who may log in; empty: everyone the authenticator accepts."""

    @model_validator(mode="after")
    def _custom_names_a_class(self) -> Authentication:
        if (self.kind == "custom") != bool(self.authenticator_class):
            raise ValueError("'class' is needed by kind 'custom', and only by it")
        return self


class Environment(Model):
    """A container image with its kernels; ``folder`` holds its recipe."""

    folder: Path | None = None
    """Folder with the image's recipe; relative to the lab file. Default for ``base`` and ``lisa``: those shipped."""
    image: str = ""
    """Image reference. Default: ``springtide/NAME:VERSION``, built from ``folder`` when missing."""
    label: Text | None = None


class LocalSite(Model):
    """This machine: containers of its Docker Engine, or plain processes."""

    kind: Literal["local"]
    runtime: Literal["docker", "host"] = "docker"
    label: Text | None = None
    optional: bool = False
    """Offered only where it is found; a missing one is said at start, not an error."""
    accounts: Literal["auto", "user", "hub"] = "auto"
    """For ``host``: whose account runs the sessions. ``user``: the machine's account of that name. ``hub``: the hub's
    own. ``auto``: the user's where the hub is root and the account exists, else a reserved account without rights
    (hub is root) or the hub's own."""
    network_pool: str = "10.213.0.0/16"
    """For ``docker``: the address range from which each user gets a network of their own."""
    pids: Annotated[int, Field(ge=16, le=100_000)] = 1024
    """For ``docker``: processes and threads a session may have."""
    environment_variables: dict[str, str] = {}


class BatchSite(Model):
    """A batch queue whose jobs run sessions."""

    kind: Literal["pbspro", "torque", "slurm", "batch"]
    """The scheduler; ``batch`` asks the commands which one they belong to."""
    runtime: Literal["host"] = "host"
    label: Text | None = None
    optional: bool = False
    commands: Path | None = None
    """Folder with qsub, qstat, … or sbatch, squeue, …. Default: found on PATH and in the usual places."""
    queue: OneLine = ""
    """Queue (Slurm: partition) of the sessions; empty: the scheduler's default."""
    account: OneLine = ""
    """Account or project charged."""
    directives: tuple[OneLine, ...] = ()
    """Further directives without their ``#PBS``/``#SBATCH``, e.g. ``-l place=scatter``."""
    prologue: str = ""
    """Shell lines run in the job before the session, e.g. ``module load python``."""
    python: str = ""
    """Python on the nodes that has jupyterhub and jupyterlab. Default: the hub's own, for a shared file system."""
    accounts: Literal["auto", "user", "hub"] = "auto"
    """Who submits. ``user``: the account of that name, through the launcher. ``hub``: the hub's own account.
    ``auto``: ``user`` where the hub may become them (root or sudo), else ``hub``."""
    api_address: str = ""
    """Address under which the nodes reach the hub's API, if not the one it listens on."""
    environment_variables: dict[str, str] = {}


Site = Annotated[LocalSite | BatchSite, Field(discriminator="kind")]


class CpuRange(Model):
    """Cores a user may ask for: a number, or ``{default, min, max}``."""

    default: Annotated[float, Field(gt=0, le=4096)] = 1
    min: Annotated[float, Field(gt=0, le=4096)] = 1
    max: Annotated[float, Field(gt=0, le=4096)] = 1

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: Any) -> Any:
        return _widen_range(value)

    @model_validator(mode="after")
    def _ordered(self) -> CpuRange:
        _check_order(self.min, self.default, self.max)
        return self


class MemoryRange(Model):
    """Memory in bytes a user may ask for: a size, or ``{default, min, max}``."""

    default: Memory = 2 * 2**30
    min: Memory = 512 * 2**20
    max: Memory = 2 * 2**30

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: Any) -> Any:
        return _widen_range(value)

    @model_validator(mode="after")
    def _ordered(self) -> MemoryRange:
        _check_order(self.min, self.default, self.max)
        return self


class WalltimeRange(Model):
    """Seconds a batch session may run: a duration, or ``{default, min, max}``."""

    default: Duration = 2 * 3600
    min: Duration = 60
    max: Duration = 12 * 3600

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: Any) -> Any:
        return _widen_range(value)

    @model_validator(mode="after")
    def _ordered(self) -> WalltimeRange:
        _check_order(self.min, self.default, self.max)
        return self


def _widen_range(value: Any) -> Any:
    """A bare value means exactly that; a mapping with some of the three fills the others sensibly."""
    if not isinstance(value, dict):
        return {"default": value, "min": value, "max": value}
    if "max" in value and "default" not in value and "min" in value:
        return {**value, "default": value["min"]}
    return value


def _check_order(low: float, default: float, high: float) -> None:
    if not low <= default <= high:
        raise ValueError("min <= default <= max")


class Profile(Model):
    """What a user picks: a site, an environment, and resources within limits."""

    name: Name
    site: Name
    environment: Name = "base"
    label: Text | None = None
    description: Text | None = None
    cpus: CpuRange = CpuRange()
    memory: MemoryRange = MemoryRange()
    walltime: WalltimeRange | None = None
    """Batch sites only. Default there: 2 h, at most 12 h."""
    queues: tuple[OneLine, ...] = ()
    """Batch sites only: the queues a user may choose from; empty: the site's."""
    groups: frozenset[str] = frozenset()
    """JupyterHub groups that see this profile; empty: everyone."""


class Lab(Model):
    """A whole lab file."""

    springtide: Literal[1]
    """Version of the lab file format."""
    lab: LabIdentity = LabIdentity()
    hub: Hub = Hub()
    authentication: Authentication = Authentication()
    environments: dict[Name, Environment] = {}
    sites: Annotated[dict[Name, Site], Field(min_length=1)]
    profiles: Annotated[tuple[Profile, ...], Field(min_length=1)]
    tutorials: Path | None = None
    """Folder of the shared notebooks; relative to the lab file. Default: those shipped."""

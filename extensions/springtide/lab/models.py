"""What a lab file may say.

Every model forbids unknown keys. Durations and memory sizes are parsed into seconds and bytes here,
so nothing downstream ever sees "2G" or "1h30m". A part left empty (``base:`` with nothing behind it)
means its defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from springtide.lab.clouds import CloudSite as CloudSite
from springtide.lab.clouds import OpenStackSite, QemuSite
from springtide.lab.fields import (
    NAME_FORM as NAME_FORM,
)
from springtide.lab.fields import (
    AbsolutePath,
    Address,
    AuthenticatorClass,
    Cpus,
    DatabaseUrl,
    Directive,
    Duration,
    FilledLine,
    Folder,
    ImageReference,
    LabPath,
    Memory,
    Name,
    NetworkPool,
    OneLine,
    Port,
    ProcessCount,
    QueueName,
    QueueNameOrEmpty,
    ReachableAddress,
    RegistryHost,
    RepositoryOrEmpty,
    ShellLines,
    StartCount,
    StateDirectory,
    Timeout,
    UserName,
    Variables,
    check_whole,
    is_folder,
    read_cpus,
    read_duration,
    read_memory,
    wrong,
)
from springtide.lab.parts import Model as Model
from springtide.lab.parts import Text as Text
from springtide.units import describe_duration, format_memory

BatchKind = Literal["pbspro", "torque", "slurm"]
BATCH_KINDS: tuple[BatchKind, ...] = ("pbspro", "torque", "slurm")
SHIPPED_ENVIRONMENTS = ("base", "lisa")
"""Environments every lab has without declaring them; their recipes come with Springtide."""
USER_HOLDER, GROUP_HOLDER = "user ", "group "
"""What the names of those who have a quota begin with, where users and groups stand side by side."""


class LabIdentity(Model):
    """How the lab presents itself."""

    name: FilledLine = "Springtide"
    """Shown on the login page and in the page titles."""


class Hub(Model):
    """Where the platform listens and what it keeps."""

    address: Address = "127.0.0.1"
    """Address browsers connect to. Loopback unless TLS ends in front of it."""
    port: Port = 8000
    """Port browsers connect to."""
    api_address: ReachableAddress = "auto"
    """Address on which the hub's API listens for sessions. ``auto``: Docker's bridge where containers are offered,
    else loopback. A lab whose batch nodes are other machines names this machine's address on their network."""
    api_port: Port = 8081
    """Port of the hub's API, which sessions connect to."""
    proxy_api_port: Port = 8001
    """Port on which the proxy takes the hub's orders, on loopback."""
    state_directory: StateDirectory | None = None
    """Where users, homes, secrets and logs live. Default: /var/lib/springtide for root,
    ~/.local/share/springtide for an ordinary user."""
    database: DatabaseUrl = ""
    """SQLAlchemy URL of the hub's database. Default: SQLite in the state directory."""
    ledger: DatabaseUrl = ""
    """SQLAlchemy URL of the ledger: what was submitted, by whom, and what became of it. Default: SQLite in the state
    directory."""
    idle_timeout: Timeout = 3 * 3600
    """A session without activity for this long is stopped; ``never``: none is."""
    concurrent_starts: StartCount = 100
    """How many sessions may be starting at once; more wait."""

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        taken: dict[int, str] = {}
        for field in ("port", "api_port", "proxy_api_port"):
            port: int = getattr(self, field)
            if port in taken:
                # The line to correct is one that is written: the other may be a default.
                key = field if field in self.model_fields_set else taken[port]
                other = taken[port] if key == field else field
                raise wrong("is taken", found=str(port), allowed=f"any port but that of hub.{other}, {port}", key=key)
            taken[port] = field
        return self


class Authentication(Model):
    """Who may log in."""

    kind: Literal["shared-password", "pam", "custom"] = "shared-password"
    """``shared-password``: any name with the one generated password, on loopback only. ``pam``: the machine's
    accounts. ``custom``: ``class`` names a JupyterHub authenticator (OAuth, LDAP, …)."""
    authenticator_class: AuthenticatorClass = Field(default="", alias="class")
    """For ``custom``: the authenticator's entry point name or class path."""
    options: dict[str, dict[str, Any]] = {}
    """For ``custom``: traitlets configuration, ``ClassName: {trait: value}``."""
    admins: frozenset[UserName] = frozenset()
    """Who may see and stop everyone's sessions."""
    users: frozenset[UserName] = frozenset()
    """Who may log in; empty: everyone the authenticator accepts."""

    @model_validator(mode="after")
    def _kind_fits(self) -> Self:
        if self.kind == "custom" and not self.authenticator_class:
            raise wrong("is missing", found="kind custom without a class", allowed="an authenticator", key="class")
        if self.kind != "custom" and self.authenticator_class:
            raise wrong("is only read by kind custom", allowed="kind: custom, or no class", key="class")
        if self.kind != "custom" and self.options:
            raise wrong("are only read by kind custom", allowed="kind: custom, or no options", key="options")
        if self.kind == "pam":
            for field in ("admins", "users"):
                if "root" in getattr(self, field):
                    # A session of root is a shell that owns the hub.
                    raise wrong("names root", found="'root'", allowed="ordinary accounts of this machine", key=field)
        return self


class Environment(Model):
    """A container image with its kernels; ``folder`` holds its recipe."""

    folder: Folder | None = None
    """Folder with the image's recipe; relative to the lab file. Default for ``base`` and ``lisa`` where no image
    is named: those shipped."""
    image: ImageReference = ""
    """Image reference. Default: ``springtide/NAME:VERSION``, built from ``folder`` when missing."""
    label: Text | None = None
    """Shown to people."""
    groups: frozenset[UserName] = frozenset()
    """JupyterHub groups that may use it: to all others its profiles do not exist. Empty: everyone."""


class Registry(Model):
    """An image registry that needs credentials, or has a certificate of its own."""

    credentials: LabPath | None = None
    """File with the login, for the hub's or the administrator's account only (mode 0600), as ``skopeo login
    --authfile`` writes it; relative to the lab file."""
    certificate: LabPath | None = None
    """File with the certificate authority, where the system's own do not know it; relative to the lab file."""
    prefix: RepositoryOrEmpty = ""
    """Where ``springtide env push`` puts images in it; empty: at its top."""


class Images(Model):
    """Where images are kept that are converted for runtimes without an engine, such as Apptainer."""

    folder: LabPath | None = None
    """Folder that the nodes see too; what the hub's or the administrator's account converts into it, all accounts use.
    Relative to the lab file. Default: ``images`` in the state directory."""
    limit: Memory | None = None
    """How much they may take; what was not used for longest and is not in use makes room. Default: no limit."""


class Workers(Model):
    """How the Dask workers of a site are: with it, the site is a pool of `HybridCluster`."""

    cores: int = Field(default=1, ge=1)
    """Threads of a worker, and cores of its job."""
    memory: Memory = 2 * 2**30
    """Memory of a worker."""
    walltime: Duration = 3600
    """Of each worker's job; its results move to others before it is over."""
    maximum: int = Field(default=0, ge=0)
    """The most workers at a time; 0: a thousand jobs, or four processes for each core of this machine."""
    interface: OneLine = ""
    """Network interface the workers listen on. Default: the one that leads to the scheduler."""
    worker_ports: OneLine = ""
    """Ports the workers listen on, as ``9000:9020``; empty: any."""
    nanny_ports: OneLine = ""
    """Ports the workers' watchers listen on, as ``9100:9120``; empty: any."""
    python: AbsolutePath = ""
    """Python on the nodes that has Dask. Default: that of the session, for a shared file system."""
    environment: Name = "base"
    """Where the site has a ``runtime`` of containers: the environment in whose image the workers run."""
    local_directory: OneLine = ""
    """Where workers spill to on their nodes. Default: ``$TMPDIR`` of the job; in containers ``/tmp``."""


class LocalSite(Model):
    """This machine: containers of its Docker Engine, or plain processes."""

    kind: Literal["local"]
    """This machine."""
    runtime: Literal["docker", "host"] = "docker"
    """``docker``: a container for each session. ``host``: a plain process of this machine."""
    label: Text | None = None
    """Shown to people."""
    optional: bool = False
    """Offered only where it is found; a missing one is said at start, not an error."""
    accounts: Literal["auto", "user", "hub"] = "auto"
    """For ``host``: whose account runs the sessions. ``user``: the machine's account of that name. ``hub``: the hub's
    own. ``auto``: the user's where the hub is root and the account exists, else a reserved account without rights
    (hub is root) or the hub's own."""
    network_pool: NetworkPool = "10.213.0.0/16"
    """For ``docker``: the address range from which each user gets a network of their own."""
    pids: ProcessCount = 1024
    """For ``docker``: processes and threads a session may have."""
    environment_variables: Variables = {}
    """Variables every session here gets."""
    workers: Workers | None = None
    """Dask workers here; left out: none."""

    @model_validator(mode="after")
    def _runtime_reads_it(self) -> Self:
        only_for = {"accounts": "host", "network_pool": "docker", "pids": "docker"}
        for field, runtime in only_for.items():
            said = getattr(self, field) != type(self).model_fields[field].default
            if said and runtime != self.runtime:
                raise wrong(
                    f"means nothing with runtime {self.runtime}", allowed=f"only with runtime {runtime}", key=field
                )
        return self


class BatchSite(Model):
    """A batch queue whose jobs run sessions."""

    kind: Literal["pbspro", "torque", "slurm", "batch"]
    """The scheduler; ``batch`` asks the commands which one they belong to."""
    runtime: Literal["host", "apptainer", "singularity", "charliecloud", "udocker"] = "host"
    """In what sessions and jobs of applications run on the nodes: ``host``, plain processes; else containers of their
    environment's image, which is converted once (see ``images``)."""
    image_form: Literal["", "sif", "folder"] = ""
    """For ``apptainer`` and ``singularity``: ``sif``, which needs ``/dev/fuse`` or an installation with setuid; or
    ``folder``, which needs user namespaces only. Default: ``sif``."""
    runtime_program: AbsolutePath = ""
    """Program of the runtime on the nodes. Default: that on PATH of the machine where jobs are submitted, or the one of
    that name on the node's, after ``prologue``."""
    label: Text | None = None
    """Shown to people."""
    optional: bool = False
    """Offered only where it is found; a missing one is said at start, not an error."""
    commands: LabPath | None = None
    """Folder with qsub, qstat, … or sbatch, squeue, …. Default: found on PATH and in the usual places."""
    queue: QueueNameOrEmpty = ""
    """Queue (Slurm: partition) of the sessions; empty: the scheduler's default."""
    account: QueueNameOrEmpty = ""
    """Account or project charged."""
    directives: tuple[Directive, ...] = ()
    """Further directives without their ``#PBS``/``#SBATCH``, e.g. ``-l place=scatter``."""
    prologue: ShellLines = ""
    """Shell lines run in the job before the session, e.g. ``module load python``."""
    python: AbsolutePath = ""
    """Python on the nodes that has jupyterhub and jupyterlab. Default: the hub's own, for a shared file system."""
    accounts: Literal["auto", "user", "hub"] = "auto"
    """Who submits. ``user``: the account of that name, through the launcher. ``hub``: the hub's own account.
    ``auto``: ``user`` where the hub may become them (root or sudo), else ``hub``."""
    api_address: ReachableAddress = ""
    """Address under which the nodes reach the hub's API, if not the one it listens on."""
    environment_variables: Variables = {}
    """Variables every session here gets."""
    workers: Workers | None = None
    """Dask workers here; left out: none."""

    @model_validator(mode="after")
    def _runtime_reads_it(self) -> Self:
        if self.image_form == "sif" and self.runtime not in ("apptainer", "singularity"):
            raise wrong(
                f"is none that {self.runtime} takes", found="sif", allowed="folder, or no line", key="image_form"
            )
        for field in ("image_form", "runtime_program"):
            if getattr(self, field) and self.runtime == "host":
                raise wrong("means nothing with runtime host", allowed="only with a runtime of containers", key=field)
        return self

    @field_validator("commands")
    @classmethod
    def _commands_are_there(cls, commands: Path | None, info: ValidationInfo) -> Path | None:
        # A site that may be absent may lack its commands too.
        if commands and info.context and not info.data.get("optional") and not is_folder(commands):
            raise wrong("is not a folder", found=str(commands), allowed="an existing folder with the batch commands")
        return commands


Site = LocalSite | BatchSite
"""A site where sessions run."""
AnySite = Annotated[LocalSite | BatchSite | QemuSite | OpenStackSite, Field(discriminator="kind")]
QuotaCount = Annotated[int, Field(ge=0, le=10**9)]


@dataclass(frozen=True)
class Quantity:
    """How a quantity is read from a lab file and shown in messages."""

    read: Callable[[Any], float]
    show: Callable[[Any], str]


class _Range(Model):
    """What the three ranges share: a bare value means exactly that, and what is left out is filled in sensibly."""

    quantity: ClassVar[Quantity]

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: Any) -> Any:
        """Fill in what a range leaves out: the class's default, moved within what is given."""
        if value is None or isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            return {"default": value, "min": value, "max": value}
        names = ("default", "min", "max")
        try:
            given = {name: cls.quantity.read(value[name]) for name in names if name in value}
        except ValueError:
            return value  # the field's own validation will say what is wrong, and where
        usual = {name: cls.model_fields[name].default for name in names}
        low = given.get("min", min(usual["min"], *given.values(), usual["max"]))
        high = given.get("max", max(usual["max"], *given.values(), usual["min"]))
        return {"default": min(max(usual["default"], low), high), "min": low, "max": high} | value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, default, high = (getattr(self, name) for name in ("min", "default", "max"))
        if not low <= default <= high:
            show = self.quantity.show
            found = f"min {show(low)}, default {show(default)}, max {show(high)}"
            raise wrong("is out of order", found=found, allowed="min <= default <= max")
        return self


class CpuRange(_Range):
    """Cores a user may ask for: a number, or ``{default, min, max}``."""

    quantity = Quantity(read_cpus, "{:g}".format)

    default: Cpus = 1
    """Cores of a session whose user does not choose."""
    min: Cpus = 1
    """Fewest cores a user may choose."""
    max: Cpus = 1
    """Most cores a user may choose."""


class MemoryRange(_Range):
    """Memory in bytes a user may ask for: a size, or ``{default, min, max}``."""

    quantity = Quantity(read_memory, format_memory)

    default: Memory = 2 * 2**30
    """Memory of a session whose user does not choose."""
    min: Memory = 512 * 2**20
    """Least memory a user may choose."""
    max: Memory = 2 * 2**30
    """Most memory a user may choose."""


class WalltimeRange(_Range):
    """Seconds a batch session may run: a duration, or ``{default, min, max}``."""

    quantity = Quantity(read_duration, describe_duration)

    default: Duration = 2 * 3600
    """Time of a session whose user does not choose."""
    min: Duration = 60
    """Shortest time a user may choose."""
    max: Duration = 12 * 3600
    """Longest time a user may choose."""


class Profile(Model):
    """What a user picks: a site, an environment, and resources within limits."""

    name: Name
    """What programs call it: the ``profile`` of the hub's API."""
    site: Name
    """Where it runs: one of ``sites``."""
    environment: Name = "base"
    """In what it runs: one of ``environments``, or ``base`` or ``lisa``, which are always there."""
    label: Text | None = None
    """Shown to people."""
    description: Text | None = None
    """One sentence that helps to choose."""
    cpus: CpuRange = CpuRange()
    """Cores."""
    memory: MemoryRange = MemoryRange()
    """Memory."""
    walltime: WalltimeRange | None = None
    """Batch sites only. Default there: 2 h, at most 12 h."""
    queues: tuple[QueueName, ...] = ()
    """Batch sites only: the queues a user may choose from; empty: the site's."""
    groups: frozenset[UserName] = frozenset()
    """JupyterHub groups that see this profile; empty: everyone."""


class Quota(Model):
    """What somebody's jobs may take; what is left out has no limit."""

    jobs: QuotaCount | None = None
    """Jobs that are not over, each run of a sweep counted."""
    cores: QuotaCount | None = None
    """Cores of the jobs that are not over, together."""
    core_hours: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)] | None = None
    """Cores times hours within ``period``: what jobs have used, and what those that are not over asked for."""
    period: Duration = 30 * 86400
    """The time before now in which ``core_hours`` are counted."""

    @property
    def limits(self) -> bool:
        """Whether it limits anything."""
        return any(limit is not None for limit in (self.jobs, self.cores, self.core_hours))


class Quotas(Model):
    """Who may take how much."""

    everyone: Quota = Quota()
    """Each user."""
    users: dict[UserName, Quota] = {}
    """Single users; what is left out is as for everyone."""
    groups: dict[UserName, Quota] = {}
    """The members of a group, together."""

    def of(self, user: str, groups: Collection[str]) -> dict[str, Quota]:
        """Return all that limits a user, by whose it is: the user's own, and that of each of the groups."""
        own = self.users.get(user, Quota()).model_dump(exclude_unset=True)
        found = {f"{USER_HOLDER}{user}": self.everyone.model_copy(update=own)}
        found |= {f"{GROUP_HOLDER}{name}": quota for name, quota in self.groups.items() if name in groups}
        return {whose: quota for whose, quota in found.items() if quota.limits}


class Lab(Model):
    """A whole lab file."""

    springtide: Annotated[Literal[1], BeforeValidator(check_whole)]
    """Version of the lab file format: 1."""
    lab: LabIdentity = LabIdentity()
    """How the lab presents itself."""
    hub: Hub = Hub()
    """Where the platform listens and what it keeps."""
    authentication: Authentication = Authentication()
    """Who may log in."""
    environments: dict[Name, Environment] = {}
    """Container images with their kernels."""
    registries: dict[RegistryHost, Registry] = {}
    """Image registries by their name, with the port where there is one. ``springtide env push`` sends to the first."""
    images: Images = Images()
    """The cache of converted images."""
    every_site: Annotated[dict[Name, AnySite], Field(min_length=1, alias="sites")]
    """Places where sessions run, and clouds whose machines work for them."""
    profiles: Annotated[tuple[Profile, ...], Field(min_length=1)]
    """What users pick from, in the order of the page."""
    quotas: Quotas = Quotas()
    """How much users and groups may have their jobs of applications take. Counted from the day that they are set."""
    tutorials: Folder | None = None
    """Folder of the shared notebooks; relative to the lab file. Default: those shipped."""

    @field_validator("environments", "registries", mode="before")
    @classmethod
    def _no_environments(cls, value: Any) -> Any:
        return {} if value is None else value

    @property
    def sites(self) -> dict[str, LocalSite | BatchSite]:
        """The sites where sessions run."""
        return {name: site for name, site in self.every_site.items() if isinstance(site, LocalSite | BatchSite)}

    @property
    def clouds(self) -> dict[str, CloudSite]:
        """The sites where machines are made."""
        return {name: site for name, site in self.every_site.items() if isinstance(site, CloudSite)}

"""What the hub's parts share: the lab, the sites as they were found, and what users are to be told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from springtide.environments.catalog import EnvironmentRecipe
from springtide.environments.conversions.places import ImageCaches
from springtide.errors import QueueError
from springtide.hub.expected import Expected
from springtide.hub.options import SessionRequest
from springtide.hub.session_rows import SessionRows
from springtide.hub.shared import Shared
from springtide.lab.models import BatchSite, Lab, Text
from springtide.lab.profiles import closed_environments
from springtide.queues.accounts import Account, account_of
from springtide.queues.detect import find_scheduler, open_queue
from springtide.queues.monitor import Monitor


@dataclass
class HubContext(Shared):
    """One per hub process.

    Parameters
    ----------
    lab : Lab
        The checked lab file.
    state : Path
        Where homes, secrets and logs are kept.
    instance : str
        A short random name of this hub, which stands in the names of its containers, networks and volumes.
    environments : dict of str to EnvironmentRecipe
        The environments the profiles use.
    tutorials : Path
        The shared notebooks.
    rows : SessionRows
        The sessions' rows in the ledger.
    """

    lab: Lab
    state: Path
    instance: str
    environments: dict[str, EnvironmentRecipe]
    tutorials: Path
    rows: SessionRows
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)
    """Per user and server name: the row of each session this hub knows."""
    monitors: dict[str, Monitor] = field(default_factory=dict)
    """The one poller of each batch site that was found."""
    broker: str = ""
    """Address of the broker, empty where there is none."""
    has_unreadable_sessions: bool = False
    """Whether the database holds a session that cannot be understood: it may run, so nothing may be swept away."""
    sweeping: asyncio.Task[None] | None = None
    _expected: dict[str, Expected] = field(default_factory=dict)
    _network_locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    starts: asyncio.Semaphore = field(init=False)
    """Holds back starts on this machine beyond what the lab allows at once; places in a queue do not count."""
    containers: dict[tuple[str, str], SessionRequest] = field(default_factory=dict)
    """Per user and server name: what each container session was given."""
    notices: dict[str, dict[str, str]] = field(default_factory=dict)
    """Per user and server name: why a session ended by itself, until its user starts it again."""

    def __post_init__(self) -> None:
        self.starts = asyncio.Semaphore(self.lab.hub.concurrent_starts)

    @property
    def homes(self) -> Path:
        """Homes of users who have no account on this machine."""
        return self.state / "homes"

    @property
    def host_environments(self) -> Path:
        """Virtual environments whose kernels sessions without a container can use."""
        return self.state / "environments"

    @property
    def kernelspecs(self) -> Path:
        """Kernels that sessions without a container are offered, a folder for each account."""
        return self.state / "kernelspecs"

    @property
    def logins_prove_users(self) -> bool:
        """Whether who logs in is who they say they are; a password that all share proves nothing."""
        return self.lab.authentication.kind != "shared-password"

    def account_of(self, user: str, site: BatchSite) -> Account:
        """Return the account that submits `user`'s jobs at `site`.

        Raises
        ------
        QueueError
            If there is none, or none that may.
        """
        return account_of(user, site.accounts, proven=self.logins_prove_users)

    @property
    def image_caches(self) -> ImageCaches:
        """Where batch sites' images are."""
        return ImageCaches.of(self.lab, self.state, self.rows.needs_nothing)

    def network_lock(self, user: str) -> asyncio.Lock:
        """Return the lock that keeps a user's network from going while another session of hers starts."""
        return self._network_locks.setdefault(user, asyncio.Lock())

    def environment(self, name: str) -> EnvironmentRecipe:
        """Return environment `name`; for a session of one that has left the lab file, only its name is known."""
        return self.environments.get(name) or EnvironmentRecipe(name, image=name, folder=None, label=Text(en=name))

    def batch_site(self, name: str) -> BatchSite:
        """Return site `name`, which is a batch queue.

        Raises
        ------
        QueueError
            If it is not.
        """
        site = self.lab.sites.get(name)
        if not isinstance(site, BatchSite):
            raise QueueError(f"The site “{name}” is not a batch queue.")
        return site

    def dialect(self, site_name: str, site: BatchSite) -> str:
        """Return the scheduler of a batch site; any, for one that was not found, whose sessions never start."""
        monitor = self.monitors.get(site_name)
        return monitor.queue.dialect if monitor else "pbspro" if site.kind == "batch" else site.kind

    async def monitor_of(self, site_name: str, site: BatchSite) -> Monitor:
        """Return the one poller of a batch site, also of one that has left the lab file.

        Raises
        ------
        QueueError
            If the site's commands are not on this machine.
        """
        if site_name not in self.monitors:
            found = await find_scheduler(site)
            self.monitors.setdefault(site_name, Monitor(open_queue(found)))
        return self.monitors[site_name]

    def expected_at(self, site_name: str, monitor: Monitor) -> Expected:
        """Return the forecasts for a batch site."""
        return self._expected.setdefault(site_name, Expected(site_name, monitor, self.rows))

    def container_requests(self) -> list[SessionRequest]:
        """Return what this hub's container sessions were given."""
        return list(self.containers.values())

    def environments_of(self, spawner: object) -> set[str]:
        """Return the environments whose kernels a session can run; for the gallery."""
        if getattr(spawner, "has_host_kernels", False):
            return set(self.environments) - closed_environments(self.lab, ())
        name = getattr(spawner, "environment_name", "")
        return {name} if name else set()

    def tell(self, user: str, server: str, words: str) -> None:
        """Keep `words` for `user`'s next look at her pages."""
        if words:
            self.notices.setdefault(user, {})[server] = words

    def told(self, user: str, server: str) -> None:
        """Forget what was kept: the session starts anew."""
        self.notices.get(user, {}).pop(server, None)

"""`HybridCluster`: one Dask cluster over processes of this machine, batch jobs and virtual machines."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import getpass
import logging
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dask.utils import parse_bytes, parse_timedelta
from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import NoOpAwaitable, SpecCluster
from distributed.scheduler import Scheduler
from distributed.utils import Log, Logs, format_dashboard_link

from springtide.cluster.adapting import Adapting, Limits
from springtide.cluster.book import Book, PoolPage
from springtide.cluster.closing import close_pools
from springtide.cluster.configured import configured_pools
from springtide.cluster.decision import Decision, PolicySettings
from springtide.cluster.explain import explain
from springtide.cluster.keys import make_keys, write_worker_keys
from springtide.cluster.observation import PoolKind
from springtide.cluster.planned import Planned
from springtide.cluster.pools.base import Contact, Pool
from springtide.cluster.reconciler import Reconciler
from springtide.cluster.scheduler_view import RemoteScheduler
from springtide.cluster.settings import by_name, check_known, default_folder, default_ledger, listening
from springtide.cluster.show import html_of, text_of
from springtide.environments.packages import DIGEST_VARIABLE, this_image
from springtide.ledger.store import Ledger

_LOOPBACK = "127.0.0.1"


class HybridCluster(Planned, SpecCluster):
    """A Dask cluster whose workers live in named pools.

    Parameters
    ----------
    pools : sequence of Pool, optional
        Where workers may live, in the order in which they are asked for. By default those of Dask's configuration
        (``springtide.cluster.pools``), else those of the lab file that ``SPRINGTIDE_LAB`` names, else processes of
        this machine.
    name : str, optional
        Name of the cluster.
    host, interface : str, optional
        Address, or network interface, on which the scheduler listens. Nodes and machines must reach it; without any,
        it listens on loopback where all pools are local, else on the address that leads to the internet.
    port : int, optional
        Its port; 0: any.
    contact_address : str, optional
        Where workers reach it, if that is another address, as from a container: "tls://10.0.0.1:8786".
    dashboard_address : str, optional
        Where its dashboard listens: it asks for no key, so on loopback by default.
    folder : Path, optional
        Folder on a file system shared with batch nodes, for the workers' key and logs; in the home folder by default.
    ledger : Ledger or str, optional
        Where jobs and machines are written down before they are made.
    budget : float, optional
        The most that machines may cost, in the lab's currency. Never exceeded.
    n_workers : int, optional
        Workers to ask for at once.
    quiet : bool, optional
        Whether what goes wrong is only kept for `get_logs` and the display, and not printed.

    Examples
    --------
    >>> with HybridCluster() as cluster, Client(cluster) as client:
    ...     cluster.scale(2)
    ...     client.submit(sum, [1, 2]).result()
    3
    """

    def __init__(
        self,
        pools: Sequence[Pool] = (),
        *,
        name: str = "",
        host: str = "",
        interface: str = "",
        port: int = 0,
        contact_address: str = "",
        dashboard_address: str = f"{_LOOPBACK}:0",
        folder: Path | None = None,
        ledger: Ledger | str | Path | None = None,
        budget: float | None = None,
        n_workers: int = 0,
        asynchronous: bool = False,
        loop: Any = None,
        quiet: bool = False,
    ) -> None:
        cluster_name = name or f"c{secrets.token_hex(4)}"
        self.pools = by_name(cluster_name, pools or configured_pools())
        # Open handles and files last: what is wrong above leaves nothing behind.
        self.user = getpass.getuser()
        self._own_ledger = not isinstance(ledger, Ledger)
        self.ledger = ledger if isinstance(ledger, Ledger) else Ledger.open(ledger or default_ledger())
        self.folder = (folder or default_folder()) / f"{cluster_name}-{secrets.token_hex(3)}"
        self.keys = make_keys(cluster_name)
        self._key_files = write_worker_keys(self.keys, self.folder)
        self.book = Book({key: PoolPage(pool.terms) for key, pool in self.pools.items()}, budget)
        self._reconciler: Reconciler | None = None
        self._adaptive: Adapting | None = None
        self._view: RemoteScheduler | None = None
        self._first_workers = n_workers
        self._dashboard_host = dashboard_address.rpartition(":")[0]
        options = {
            "protocol": "tls",
            "security": self.keys.security,
            "dashboard_address": dashboard_address,
            "port": port,
            **listening(host, interface, self.pools.values()),
            **({"contact_address": contact_address} if contact_address else {}),
        }
        first = next(iter(self.pools.values())).worker
        super().__init__(
            workers={},
            scheduler={"cls": Scheduler, "options": options},
            worker={"cls": None, "options": {"cores": first.cores, "memory": first.memory_bytes}},
            asynchronous=asynchronous,
            loop=loop,
            security=self.keys.security,
            silence_logs=logging.WARNING,
            name=cluster_name,
        )
        self.quiet = quiet

    # --- beginning --------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        began = self.status in (Status.starting, Status.running)
        await super()._start()
        if began:
            return
        try:
            await self._open()
        except BaseException:
            await self._close()
            raise

    async def _open(self) -> None:
        terms = {name: pool.terms for name, pool in self.pools.items()}
        self._view = RemoteScheduler(self.scheduler_comm, lambda: self.scheduler_info["workers"], terms)
        await self._view.register()
        contact = Contact(
            cluster=self.name,
            address=getattr(self.scheduler, "contact_address", None) or self.scheduler.address,
            host=urlsplit(self.scheduler.address).hostname or _LOOPBACK,
            folder=self.folder,
            keys=self.keys,
            files=self._key_files,
            ledger=self.ledger,
            user=self.user,
        )
        await asyncio.gather(*(pool.open(contact) for pool in self.pools.values()))
        if os.environ.get(DIGEST_VARIABLE):
            session = await asyncio.to_thread(this_image)
            for pool in self.pools.values():
                await pool.check_image(session)
        for pool in self.pools.values():
            self.book.with_terms(pool.terms)
        self._reconciler = Reconciler(self.book, self.pools, self._view, self._log, self._sync_spec)
        if self._first_workers:
            self._scale_to(self._first_workers)
        self._reconciler.start()

    # --- the plan ---------------------------------------------------------------------------------------------------

    def scale(self, n: int | None = None, memory: Any = None, cores: int | None = None, **pools: int) -> Any:
        """Plan so many workers: ``scale(4)`` in all, or by pool: ``scale(cluster=4, cloud=2)``.

        Workers in all are taken from the pools in their order, each up to its maximum, those that cost nothing first;
        given up, they are in the opposite order. Pools that are not named keep what they have. What `adapt` began,
        ends.

        Parameters
        ----------
        n : int, optional
            Workers in all pools together.
        memory, cores : optional
            As of `SpecCluster.scale`, in terms of the first pool's workers.
        **pools : int
            Workers of a pool.
        """
        check_known(pools, self.pools)
        if memory is not None:
            n = max(n or 0, math.ceil(parse_bytes(memory) / self._memory_per_worker()))
        if cores is not None:
            n = max(n or 0, math.ceil(cores / self._threads_per_worker()))

        def plan() -> None:
            self._stop_adapting()
            if n is not None:
                self._scale_to(n)
            for name, workers in pools.items():
                self._scale_pool(name, workers)
            self._plan_changed()

        return self._in_loop(plan)

    scale_up = scale

    def _scale_to(self, workers: int) -> None:
        left = workers
        for name in sorted(self.pools, key=lambda name: self.pools[name].kind is PoolKind.CLOUD):
            here = min(left, self.book.pools[name].terms.maximum)
            self.book.set_target(name, here)
            left -= here
        if left:
            self._log(f"{workers - left} workers are planned, not {workers}: the pools take no more.")

    def _scale_pool(self, name: str, workers: int) -> None:
        most = self.book.pools[name].terms.maximum
        if workers > most:
            self._log(f"{name}: {most} workers are planned, not {workers}: the pool takes no more.")
        self.book.set_target(name, workers)

    async def scale_down(self, workers: Collection[str]) -> None:
        """Give up these workers, by name or address: their results move first, and nobody takes their places."""
        self.book.give_up(self._names_of(workers))
        self._plan_changed()

    def adapt(
        self,
        *,
        minimum: int = 0,
        maximum: float = math.inf,
        interval: float | str = 1.0,
        target_duration: float | str | None = None,
        hint: float | str | None = None,
        budget: float | None = None,
        settings: PolicySettings | None = None,
        **pools: tuple[int, int],
    ) -> Any:
        """Let the load decide how many workers each pool has, until the next `scale`.

        Parameters
        ----------
        minimum, maximum : int
            Fewest and most workers in all.
        interval : float or str
            Time between two decisions.
        target_duration : float or str, optional
            Within so long the ready work is to be done, as far as pools and budget allow.
        hint : float or str, optional
            How long a task takes, until one is measured.
        budget : float, optional
            The most that machines may cost.
        settings : PolicySettings, optional
            All that can be set.
        **pools : (int, int)
            Fewest and most workers of a pool.
        """
        check_known(pools, self.pools)
        chosen = settings or PolicySettings()
        if target_duration is not None:
            chosen = dataclasses.replace(chosen, target_s=parse_timedelta(target_duration))
        hint_s = None if hint is None else parse_timedelta(hint)
        limits = Limits(minimum, maximum, pools)

        def begin() -> None:
            self._stop_adapting()
            if budget is not None:
                self.book.budget = budget
            self._adaptive = self._adapting(limits, chosen, parse_timedelta(interval), hint_s)
            self._adaptive.start()

        self._in_loop(begin)
        return self._adaptive

    def _adapting(
        self, limits: Limits, settings: PolicySettings, interval_s: float = 1.0, hint_s: float | None = None
    ) -> Adapting:
        assert self._view is not None
        lives_s = [pool.terms.longest_s for pool in self.pools.values() if pool.kind is PoolKind.CLOUD]
        settings = dataclasses.replace(settings, lifetime_s=min([settings.lifetime_s, *lives_s]))
        return Adapting(
            self.book, self.pools, self._view, self._adapted, limits, settings, interval_s, hint_task_s=hint_s
        )

    def _adapted(self, decision: Decision) -> None:
        now = datetime.datetime.now()
        self._cluster_manager_logs += [(now, line) for line in explain(decision)]
        self._plan_changed()

    def _stop_adapting(self) -> None:
        if self._adaptive is not None:
            self._adaptive.stop()
            self._adaptive = None

    def dry_run(self) -> Any:
        """Return in words what `adapt` would do now; nothing is done."""

        async def decide() -> str:
            adapting = self._adaptive or self._adapting(Limits(), PolicySettings())
            return "\n".join(explain(await adapting.decide()))

        return self.sync(decide)

    def _in_loop(self, change: Callable[[], None]) -> Any:
        """Change the plan in the cluster's own event loop, where all that reads it runs."""
        if self.asynchronous:
            change()
            return NoOpAwaitable()

        async def changed() -> None:
            change()

        return self.sync(changed)

    # --- the end ----------------------------------------------------------------------------------------------------

    async def _close(self) -> None:
        """End all that is there. Always returns, and says what may be left where a queue or cloud does not answer."""
        while self.status == Status.closing:
            await asyncio.sleep(0.05)
        if self.status == Status.closed:
            return
        self.status = Status.closing
        self._stop_adapting()
        if self._reconciler is not None:
            await self._reconciler.stop()
        for name in self.pools:
            self.book.set_target(name, 0)
        # Without their scheduler, workers end by themselves; those that have never joined have to be ended.
        leaving = [slot.name for slot in self.book.slots.values() if slot.joined]
        if self.scheduler_comm is not None:
            with contextlib.suppress(OSError):
                await self.scheduler_comm.terminate()
        if self.scheduler is not None:
            await self.scheduler.close()
        await close_pools(self.book, self.pools, self._log, leaving=leaving)
        self._sync_spec()
        await Cluster._close(self)
        if self._own_ledger:
            self.ledger.close()
        # The workers' key is of no use any more; logs go with it.
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    # --- what people see --------------------------------------------------------------------------------------------

    async def _get_logs(self, cluster: bool = True, scheduler: bool = True, workers: Any = True) -> Any:
        logs: Any = Logs()
        if cluster:
            logs["Cluster"] = Log("\n".join(f"{when:%H:%M:%S} {words}" for when, words in self._cluster_manager_logs))
        if scheduler:
            logs["Scheduler"] = Log("\n".join(line for _, line in await self.scheduler_comm.get_logs()))
        wanted = set(self.book.slots) if workers is True else self._names_of(workers or ())
        for slot in [slot for slot in self.book.slots.values() if slot.name in wanted]:
            logs[slot.name] = Log(await self.pools[slot.pool].log(slot.name))
        return logs

    @property
    def _cluster_class_name(self) -> str:
        return type(self).__name__

    @property
    def cost(self) -> float:
        """What machines have cost so far, in the lab's currency; those that still run up to now."""
        return self.book.cost(time.time())

    @property
    def dashboard_link(self) -> str:
        """Where the dashboard is."""
        services = self.scheduler_info.get("services", {})
        return format_dashboard_link(self._dashboard_host, services["dashboard"]) if "dashboard" in services else ""

    def explain(self, language: str = "en") -> str:
        """Return in words how the pools are doing, why workers were or were not asked for, and why others wait."""
        return text_of(self.book, self.cost, self._last_words(language), language)

    def _last_words(self, language: str = "en") -> list[str]:
        return self._adaptive.explain(language) if self._adaptive is not None else []

    def _scaling_status(self) -> str:
        return html_of(self.book, self.cost, self._last_words(), adaptive=self._adaptive is not None)

    def _repr_html_(self, cluster_status: str | None = None) -> str:
        return str(super()._repr_html_(cluster_status=cluster_status or self._scaling_status()))

"""All desks of the broker, and what it does for all of them: promises kept after a restart, uploads cleared away."""

from __future__ import annotations

import asyncio
import grp
import hashlib
import logging
import os
import pwd
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from springtide.broker.catalog import Catalog
from springtide.broker.desk import UserDesk
from springtide.broker.sites import Sites, jobs_folder
from springtide.errors import SpringtideError
from springtide.jobs.spec import JobSpec
from springtide.lab.models import Lab
from springtide.ledger.store import Ledger

_log = logging.getLogger(__name__)
_UPLOADS_KEPT_S = 86400.0


@dataclass
class Desks:
    """One per broker.

    Parameters
    ----------
    lab : Lab
        What there is.
    ledger : Ledger
        Where everything is written down.
    state : Path
        The hub's state directory.
    """

    lab: Lab
    ledger: Ledger
    state: Path
    sites: Sites = field(init=False)
    catalog: Catalog = field(init=False)
    _desks: dict[str, UserDesk] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sites = Sites(self.lab, self.ledger)
        self.catalog = Catalog(self.lab)
        self._place = self.state / "broker"
        for folder in (self._place, self._place / "uploads"):
            folder.mkdir(mode=0o700, exist_ok=True)
        # What a killed broker was making.
        shutil.rmtree(self._place / "staging", ignore_errors=True)
        (self._place / "staging").mkdir(mode=0o700)

    def of(self, user: str, groups: Collection[str] | None = None) -> UserDesk:
        """Return the desk of a user; `groups` are those that the hub has just said.

        Raises
        ------
        QueueError
            If no account works for the user.
        """
        desk = self._desks.get(user) or self._open(user)
        if groups is not None:
            desk.groups = frozenset(groups) | _account_groups(desk)
        return desk

    def _open(self, user: str) -> UserDesk:
        account = self.sites.account_of(user)
        # No user name makes a path of its own.
        uploads = self._place / "uploads" / hashlib.sha256(user.encode()).hexdigest()[:32]
        uploads.mkdir(mode=0o700, exist_ok=True)
        desk = UserDesk(
            lab=self.lab,
            ledger=self.ledger,
            folder=jobs_folder(user, account),
            home=uploads,
            environments=self.state / "environments",
            user=user,
            say=_log.info,
            sites=self.sites,
            account=account,
            uploads=uploads,
            staging=self._place / "staging",
            catalog=self.catalog,
        )
        self._desks[user] = desk
        return desk

    async def recover(self) -> None:
        """Submit what was promised and certainly never submitted: a former broker died in between.

        What follows other jobs may have to wait for them: the follower sees to it.
        """
        left = await asyncio.to_thread(self.ledger.runs_left)
        for run in [run for run in left if not JobSpec.from_json(run.spec).after]:
            try:
                desk = self.of(run.user)
                if Path(run.folder).is_relative_to(desk.folder) and await desk.recover_run(run):
                    _log.info("The run %s of %s is submitted after all", run.token, run.user)
            except SpringtideError as error:
                _log.warning("The run %s of %s is left alone: %s", run.token, run.user, error.message)

    def clear_uploads(self) -> None:
        """Remove what was sent long ago: jobs have copies of their own, schedules have not."""
        before = time.time() - _UPLOADS_KEPT_S
        needed = "".join(schedule.request for schedule in self.ledger.schedules())
        for place in self._place.glob("uploads/*/*"):
            if place.stat().st_mtime < before and place.name not in needed:
                shutil.rmtree(place, ignore_errors=True)


def _account_groups(desk: UserDesk) -> frozenset[str]:
    """Return the groups of a user's own account on this machine; an account that many share says nothing."""
    if desk.account.name != desk.user:
        return frozenset()
    known = {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}
    gids = os.getgrouplist(desk.user, pwd.getpwnam(desk.user).pw_gid)
    return frozenset(known[gid] for gid in gids if gid in known)

"""The one spawner the hub knows: it checks what was asked, and lets the site's own spawner do the work."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.spawner import Spawner, SpawnException
from sqlalchemy import inspect

from springtide.environments.at_home import PACKAGES, closed_folder, package_folder
from springtide.environments.host import jupyter_path
from springtide.environments.kernelspecs import Viewer
from springtide.environments.sites import image_at
from springtide.errors import OptionsError, QueueError, SpringtideError
from springtide.hub.batch import SESSIONS, BatchSession
from springtide.hub.brokering import session_variables
from springtide.hub.container import TUTORIALS, ContainerSession
from springtide.hub.context import HubContext
from springtide.hub.kernels import offer_kernels
from springtide.hub.options import SessionRequest, as_user_options, validate_options
from springtide.hub.pages import visit
from springtide.hub.places import groups_of
from springtide.hub.plan import Plan
from springtide.hub.process import ProcessSession, runner_of, unreadable_python
from springtide.hub.session_rows import CANCELLED, KIND
from springtide.hub.words import spawn_failure, spawn_failure_of
from springtide.lab.models import BatchSite, LocalSite, Profile
from springtide.ledger.records import JobRecord
from springtide.queues.accounts import UserQueue
from springtide.queues.model import new_job_token
from springtide.share import share_path
from springtide.texts import translator

Session = ContainerSession | BatchSession | ProcessSession

_ANSWER_WITHIN_S = 180
# On this machine; the wait for other people's starts is part of it.
_START_WITHIN_S = 900
# A place in the queue has no time limit; this is the longest a timer can count without trouble, some thirty years.
_NO_LIMIT_S = 10**9
_BIND_AGAIN_S = 10.0
_STOP_BEGINS_WITHIN_S = 10.0
_STATE_VERSION = 1


class LabSpawner(Spawner):
    """Starts a session where its profile says: container, batch job or process."""

    context: ClassVar[HubContext]

    _plan: Plan | None = None
    _session: Session | None = None
    _language = "en"
    _token_id: int | None = None
    _row = ""
    _unreadable_state: dict[str, Any] = {}  # noqa: RUF012  # replaced as a whole, never changed
    _spawn_future: asyncio.Future[Any] | None = None

    @classmethod
    def bound_to(cls, context: HubContext) -> type[LabSpawner]:
        """Return this class with the hub's `context`; JupyterHub itself makes the instances."""
        return type("LabSpawner", (cls,), {"context": context, "__module__": cls.__module__})

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.poll_interval = 10
        self.http_timeout = _ANSWER_WITHIN_S
        self.apply_user_options = _accept
        self.options_from_form = self._options_from_form_checked

    # --- options ------------------------------------------------------------------------------------------------

    def accept(self, options: Mapping[str, object]) -> None:
        """Check what was asked, by form or API alike, and keep it for `start`.

        Raises
        ------
        SpawnException
            400, naming the option, where it is not allowed.
        """
        self._language = visit().language if self.handler else self._language
        try:
            self._plan = Plan.of(self.context.lab, self._validated(options))
        except SpawnException:
            # JupyterHub has stored them already, and would start the next session without options with them.
            self.orm_spawner.user_options = {}
            raise
        self.start_timeout = _NO_LIMIT_S if isinstance(self._plan.site, BatchSite) else _START_WITHIN_S

    def _validated(self, options: Mapping[str, object]) -> SessionRequest:
        try:
            return validate_options(self.context.lab, options, groups_of(self.user), language=visit().language)
        except OptionsError as error:
            raise spawn_failure(f"{error.field}: {error}", reason="options", status_code=400) from error

    def _options_from_form_checked(self, form: dict[str, list[str]]) -> dict[str, Any]:
        """Return the form's options in their canonical form, which is what the hub remembers."""
        # After a refused form, a reload of the page sends its token as if it were an option.
        return as_user_options(self._validated({name: value for name, value in form.items() if name != "_xsrf"}))

    # --- what the hub calls -------------------------------------------------------------------------------------

    async def start(self) -> tuple[str, int]:
        """Start the session at its profile's site."""
        assert self._plan is not None, "the hub applies the options first"
        self.context.told(self.user.name, self.name)
        session = self._take_up(self._plan)
        session.api_token = self.api_token
        self._remember_token()
        session.cert_paths = self.cert_paths
        try:
            await self._bind(session)
            if isinstance(session, ProcessSession):
                await self._offer_kernels(session, self._plan)
            await self._open_row(session, self._plan)
            if isinstance(session, BatchSession) and session.site.runtime != "host":
                await self._have_image(session, self._plan)
            ip, port = await self._start_in_turn(session)
        except SpringtideError as error:
            await self.context.rows.end(self._row, reason=error.message)
            raise spawn_failure_of(error, reason="site") from error
        except SpawnException as failure:
            await self.context.rows.end(self._row, reason=failure.message)
            raise
        self.ip, self.port = ip, port
        image = {"environment": session.digest} if isinstance(session, ContainerSession) else {}
        await self.context.rows.change(self._row, state="running", **image)
        return ip, port

    async def _start_in_turn(self, session: Session) -> tuple[str, int]:
        if isinstance(session, BatchSession):
            return await session.start()
        async with self.context.starts:
            return await session.start()

    async def _open_row(self, session: Session, plan: Plan) -> None:
        """Write the session's row into the ledger before anything of the session exists."""
        self._row = new_job_token()
        self.context.tokens[(self.user.name, self.name)] = self._row
        if isinstance(session, BatchSession):
            session.job_token = self._row
        await self.context.rows.begin(self._record(session, plan))

    def _record(self, session: Session, plan: Plan) -> JobRecord:
        wanted, batch = plan.request, isinstance(session, BatchSession)
        account = session.user_queue.account.name if isinstance(session, BatchSession) else ""
        dialect = session.user_queue.queue.dialect if isinstance(session, BatchSession) else ""
        now = time.time()
        return JobRecord(
            token=self._row,
            site=plan.profile.site,
            user=self.user.name,
            account=account,
            name=plan.profile.name,
            scheduler_name=self._row if batch else "",
            kind=KIND,
            dialect=dialect,
            server=self.name,
            origin=self.context.instance,
            queue=wanted.queue,
            cores=max(1, round(wanted.cpus)),
            memory_bytes=wanted.memory_bytes,
            walltime_s=wanted.walltime_s or 0,
            environment=plan.profile.environment,
            recorded=now,
            submitted=None if batch else now,
        )

    async def stop(self, now: bool = False) -> None:
        """Stop the session and wait until nothing of it is left."""
        session = self._session
        if session is None:
            return
        # JupyterHub forgets a session whose stop fails, and with it what finds the job: so wait, as in an outage.
        while not await self._bound(session):
            await asyncio.sleep(_BIND_AGAIN_S)
        await session.stop(now=now)
        await self.context.rows.end(self._row, cause=CANCELLED)

    async def poll(self) -> int | str | None:
        """Return None while the session lives or cannot be asked about, else how it ended."""
        session = self._session
        if session is None:
            return None if self._unreadable_state else 0
        if not await self._bound(session):
            return None
        status = await session.poll()
        if status is not None:
            self._tell(session.last_words)
            await self.context.rows.end(self._row, exit_status=status)
            return status
        if self._check_pending and isinstance(session, BatchSession) and not session.located:
            return await self._wait_on(session)
        return None

    async def get_url(self) -> str:
        """Return where the session listens; asked by a hub that found it running."""
        if self._session is None:
            return str(self.server.url)
        base_url: str = self.server.base_url
        return (await self._session.url()) + base_url

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Pass on what the session says of its start."""
        while self._session is None:
            await asyncio.sleep(0.1)
        async for event in self._session.progress():
            yield event

    def get_state(self) -> dict[str, Any]:
        """Return what finds the session again after any crash."""
        if self._unreadable_state:
            return self._unreadable_state
        child = self._session.get_state() if self._session else {}
        if not child or self._plan is None:
            return {}
        return {
            "version": _STATE_VERSION,
            "plan": self._plan.as_state(),
            "language": self._language,
            "token_id": self._token_id,
            "row": self._row,
            "session": child,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a session that an earlier hub started."""
        if not state:
            return
        try:
            if state["version"] != _STATE_VERSION:
                raise ValueError(f"version {state['version']}")
            self._language, self._token_id = state["language"], state["token_id"]
            self._plan, self._row = Plan.from_state(state["plan"]), state.get("row", "")
            self.context.tokens[(self.user.name, self.name)] = self._row
            self._take_up(self._plan).load_state(state["session"])
        except (KeyError, ValueError, SpawnException) as error:
            # It may well be running: so it is neither forgotten nor swept away, and the administrator is told.
            self.log.error("What is stored of session %s cannot be read (%s): %s", self._log_name, error, state)
            self._unreadable_state = state
            self.context.has_unreadable_sessions = True

    def clear_state(self) -> None:
        """Forget the session: it is over, and so is its token."""
        self._session = None
        self._unreadable_state = {}
        self._revoke_token()
        self.context.containers.pop((self.user.name, self.name), None)
        self.context.tokens.pop((self.user.name, self.name), None)

    def _remember_token(self) -> None:
        """Keep which token is the session's, by its number in the hub's database."""
        token = orm.APIToken.find(inspect(self.orm_spawner).session, self.api_token)
        self._token_id = token.id if token else None

    def _revoke_token(self) -> None:
        """Revoke the session's token. After a restart the hub has its digest only, and would leave it valid."""
        database = inspect(self.orm_spawner).session
        token = database.get(orm.APIToken, self._token_id) if database and self._token_id else None
        if token is not None:
            database.delete(token)
            database.commit()
        self._token_id = None

    # --- what a session calls -----------------------------------------------------------------------------------

    def owns_token(self, token: str) -> bool:
        """Whether `token` is that of the batch session; for the port handler."""
        return isinstance(self._session, BatchSession) and self._session.owns_token(token)

    def report_port(self, port: int) -> bool:
        """Take the batch session's port, once; for the port handler."""
        return isinstance(self._session, BatchSession) and self._session.report_port(port)

    def keep_state(self) -> None:
        """Store the session's state now, so that a hub killed at the next line finds it."""
        self.orm_spawner.state = self.get_state()
        inspect(self.orm_spawner).session.commit()

    @property
    def environment_name(self) -> str:
        """The environment of the session that was last asked for; empty where none was."""
        return self._plan.profile.environment if self._plan else ""

    @property
    def has_host_kernels(self) -> bool:
        """Whether the session sees the kernels installed on the machine, not those of one image."""
        in_image = isinstance(self._session, BatchSession) and self._session.site.runtime != "host"
        return self._session is not None and not isinstance(self._session, ContainerSession) and not in_image

    def _tell(self, words: str) -> None:
        """Keep `words` for the user's next look at her pages."""
        self.context.tell(self.user.name, self.name, words)

    # --- making sessions ----------------------------------------------------------------------------------------

    def _take_up(self, plan: Plan) -> Session:
        """Make the session that `plan` describes this spawner's own."""
        self._session = session = self._make_session(plan)
        if isinstance(session, ContainerSession):
            self.context.containers[(self.user.name, self.name)] = plan.request
        return session

    def _make_session(self, plan: Plan) -> Session:
        request, site = plan.request, plan.site
        if isinstance(site, BatchSite):
            session: Session = self._batch_session(site, plan)
        elif site.runtime == "docker":
            session = self._container_session(site, plan.profile)
        else:
            session = self._process_session(site)
        session.language = self._language
        session.cpu_limit, session.mem_limit = request.cpus, request.memory_bytes
        session.default_url = "/lab"
        session.environment = {**session.environment, **site.environment_variables}
        return session

    def _child(self, cls: type[Any], **traits: Any) -> Any:
        """Return a session of `cls` for the same user and server, with its own section of the configuration."""
        inherited = (
            "user", "orm_spawner", "hub", "authenticator", "config", "proxy_spec", "oauth_client_id", "cookie_options",
            "cookie_host_prefix_enabled", "internal_ssl", "internal_trust_bundles", "internal_certs_location",
            "public_url", "public_hub_url", "_deprecated_db_session",
        )  # fmt: skip
        child = cls(**{name: getattr(self, name) for name in inherited}, **traits)
        child.keep_state = self.keep_state
        child.tell = self._tell
        return child

    def _container_session(self, site: LocalSite, profile: Profile) -> ContainerSession:
        recipe = self.context.environment(profile.environment)
        session: ContainerSession = self._child(
            ContainerSession,
            instance=self.context.instance,
            prefix=f"springtide-{self.context.instance}",
            network_lock=self.context.network_lock(self.user.name),
            image=recipe.image,
            image_label=recipe.label.in_language(self._language),
            network_pool=site.network_pool,
            pids_limit=site.pids,
            read_only_volumes={
                str(self.context.tutorials): TUTORIALS,
                str(package_folder()): f"{PACKAGES}/springtide",
            },
            cmd=["jupyterhub-singleuser"],
        )
        session.harden()
        session.environment = {**session.environment, "PYTHONPATH": PACKAGES}
        session.environment.update(session_variables(self.context.broker, ""))
        return session

    def _batch_session(self, site: BatchSite, plan: Plan) -> BatchSession:
        session: BatchSession = self._child(
            SESSIONS[self.context.dialect(plan.profile.site, site)],
            site=site,
            resources=plan.request,
            python=site.python or sys.executable,
            rows=self.context.rows,
        )
        if site.api_address:
            session.hub_connect_url = f"http://{site.api_address}:{self.context.lab.hub.api_port}"
        if not site.python and site.runtime == "host":
            session.environment = self._host_settings()
        session.environment.update(session_variables(self.context.broker, session.hub_connect_url or ""))
        return session

    async def _have_image(self, session: BatchSession, plan: Plan) -> None:
        """Give a batch session its environment's image, which is converted first where it is missing."""

        def say(line: str) -> None:
            session.prepares = line

        session.image = await asyncio.to_thread(
            image_at,
            self.context.lab,
            plan.profile.environment,
            plan.profile.site,
            self.context.image_caches,
            self._row,
            say,
            shared_only=True,
        )
        session.prepares = ""
        await self.context.rows.change(self._row, environment=session.image.digest)

    def _process_session(self, site: LocalSite) -> ProcessSession:
        try:
            runner = runner_of(
                self.user.name, site.accounts, self.context.homes, proven=self.context.logins_prove_users
            )
        except SpringtideError as error:
            raise spawn_failure_of(error, reason="account") from error
        folder = unreadable_python() if runner.changes_account else ""
        if folder:
            raise spawn_failure(translator(self._language)("process.unreadable", folder=folder), reason="python")
        session: ProcessSession = self._child(ProcessSession, runner=runner)
        session.environment = self._host_settings()
        return session

    def _host_settings(self) -> dict[str, str]:
        """Return what gives a session without a container the kernels and the settings that an image would have."""
        kernels = ":".join(map(str, jupyter_path(self.context.host_environments)))
        settings = share_path("kernels", "base", "etc", "jupyter")
        # A checkout below root's home: Jupyter would stop at a folder that it cannot read.
        readable = {} if closed_folder(settings) else {"JUPYTER_CONFIG_PATH": str(settings)}
        return {"JUPYTER_PATH": kernels, **readable}

    async def _offer_kernels(self, session: ProcessSession, plan: Plan) -> None:
        """Give a process session the lab's kernels in containers and in jobs, as far as its own account may."""
        viewer = Viewer(
            uid=session.runner.uid,
            gid=session.runner.gid,
            groups=groups_of(self.user),
            language=self._language,
            cores=plan.request.cpus,
            memory_bytes=plan.request.memory_bytes,
        )
        try:
            folder = await asyncio.to_thread(offer_kernels, self.context, viewer)
        except OSError as error:
            self.log.warning("Session %s is offered no further kernels: %s", self._log_name, error)
            return
        if folder is not None:
            known = session.environment.get("JUPYTER_PATH", "")
            session.environment = {**session.environment, "JUPYTER_PATH": ":".join(filter(None, (str(folder), known)))}

    async def _bound(self, session: Session) -> bool:
        """Whether the session can be asked about and stopped now; said in the log where it cannot."""
        try:
            await self._bind(session)
        except QueueError as error:
            self.log.warning("Session %s cannot be asked about: %s", self._log_name, error)
            return False
        return True

    async def _bind(self, session: Session) -> None:
        """Give a batch session its queue, as late as it is needed: without commands or account it is only unknown."""
        if isinstance(session, BatchSession) and session.user_queue is None:
            assert self._plan is not None
            monitor = await self.context.monitor_of(self._plan.profile.site, session.site)
            session.user_queue = UserQueue(monitor.queue, self.context.account_of(self.user.name, session.site))
            session.monitor = monitor
            session.expected = self.context.expected_at(self._plan.profile.site, monitor)

    async def _wait_on(self, session: BatchSession) -> int | None:
        """Go on waiting for a job that was in the queue when the last hub ended, as if this one had submitted it."""
        waiting = asyncio.ensure_future(session.locate())
        self._check_pending, self._spawn_pending, self._spawn_future = False, True, waiting
        try:
            self.ip, self.port = await waiting
            self.server.ip, self.server.port = self.ip, self.port
            self.keep_state()
            await JupyterHub.instance().proxy.add_user(self.user, self.name)
            # Not ready yet: the hub's check goes on, and waits until JupyterLab answers.
            self._check_pending = True
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not waiting.cancelled() or (task is not None and task.cancelling()):
                raise  # the hub is ending: the job stays, and the next hub goes on waiting
            self._end_wait()
            await self._stopped_by_user()
            return 1
        except SpawnException as failure:
            self._tell(failure.message)
            return 1
        finally:
            self._end_wait()
        return None

    def _end_wait(self) -> None:
        self._spawn_pending, self._spawn_future = False, None

    async def _stopped_by_user(self) -> None:
        """Wait until the request that cancelled the wait has stopped the session: it must be the one to do so."""
        async with asyncio.timeout(_STOP_BEGINS_WITHIN_S):
            while not self._stop_pending:
                await asyncio.sleep(0.1)
        while self._stop_pending:
            await asyncio.sleep(0.1)


def _accept(spawner: LabSpawner, options: dict[str, object]) -> None:
    """Check the options; JupyterHub calls this with the spawner first."""
    spawner.accept(options)

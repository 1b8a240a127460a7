"""JupyterHub's configuration, made from the lab file. ``hub_config/jupyterhub_config.py`` only calls `configure`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyterhub.apihandlers import default_handlers

from springtide.environments.catalog import resolve
from springtide.errors import QueueError, SpringtideError
from springtide.hub import gallery_handlers, pages, places, progress, sweep
from springtide.hub.brokering import add_broker
from springtide.hub.context import HubContext
from springtide.hub.culling import FRONT
from springtide.hub.gallery import wanted_environment
from springtide.hub.places import groups_of
from springtide.hub.probes import container_facts, queue_facts
from springtide.hub.reach import hub_address
from springtide.hub.session_rows import SessionRows
from springtide.hub.spawn_form import render_spawn_form
from springtide.hub.spawner import LabSpawner
from springtide.hub.state import StateDirectory, default_state_directory
from springtide.lab.load import load_lab
from springtide.lab.models import BatchSite, Lab
from springtide.lab.profiles import closed_environments, visible_profiles
from springtide.ledger.place import ledger_url
from springtide.queues.detect import find_scheduler, open_queue
from springtide.queues.monitor import Monitor
from springtide.share import share_path

KEEPER = "springtide-keeper"
"""The supervisor, by its token: it stops sessions, and restores the proxy's routes."""
ADMINISTRATOR = "springtide-admin"
"""Whoever may read the state directory's ``run/admin-token``: for the administrator's own scripts."""
_ADMINISTRATOR_SCOPES = ["admin:users", "admin:servers", "tokens", "list:users", "read:hub", "access:servers", "proxy"]
_CULL_EVERY_PART = 10
# A user's network has room for thirteen containers.
_SESSIONS_BESIDE_THE_MAIN_ONE = 11
# Anchored at the end: JupyterHub looks for a match at the beginning of the name only.
_USER_NAMES = r"[a-z0-9][a-z0-9._@-]{0,63}\Z"


def configure(c: Any) -> None:
    """Fill JupyterHub's configuration `c` from the lab file named by SPRINGTIDE_LAB and SPRINGTIDE_STATE.

    A lab file that is wrong, or a site that is neither found nor optional, ends the hub with exit status 2 before
    it has started anything.
    """
    try:
        lab = load_lab(lab_file())
        state = StateDirectory(Path(os.environ.get("SPRINGTIDE_STATE") or default_state_directory(lab)))
        state.prepare()
        context = make_context(lab, state)
    except SpringtideError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(2)
    _addresses(c, lab, state)
    _sessions(c, lab, context, state)
    _pages(c, lab, context)
    _services(c, lab, state)
    if context.monitors:
        context.broker = add_broker(c, lab, state, lab_file())
    _authentication(c, lab, state)
    _logging(c)
    sweep.schedule(context)


def lab_file() -> Path:
    """Return the lab file in use: SPRINGTIDE_LAB, else the one that comes with Springtide."""
    return Path(os.environ.get("SPRINGTIDE_LAB") or share_path("hub_config", "lab.yaml"))


def make_context(lab: Lab, state: StateDirectory) -> HubContext:
    """Return what the hub's parts share, the batch sites found.

    Raises
    ------
    QueueError
        If a site that is not optional has no commands on this machine.
    """
    return HubContext(
        lab=lab,
        state=state.path,
        instance=state.secret("instance", 3),
        environments=resolve(lab),
        tutorials=lab.tutorials or share_path("notebooks"),
        rows=SessionRows(ledger_url(lab.hub.ledger, state.path)),
        monitors=_in_thread(_find_queues(lab)),
    )


async def _find_queues(lab: Lab) -> dict[str, Monitor]:
    monitors = {}
    for name, site in lab.sites.items():
        if not isinstance(site, BatchSite):
            continue
        try:
            monitors[name] = Monitor(open_queue(await find_scheduler(site)))
        except QueueError as error:
            if not site.optional:
                raise QueueError(f"Site “{name}”: {error.message}", error.hint) from error
    return monitors


def _in_thread(work: Coroutine[Any, Any, dict[str, Monitor]]) -> dict[str, Monitor]:
    """Return what `work` returns; JupyterHub reads its configuration inside a running event loop."""
    results: list[dict[str, Monitor] | Exception] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except Exception as error:  # raised again below, in the thread that can say it
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    (result,) = results
    if isinstance(result, Exception):
        raise result
    return result


def _addresses(c: Any, lab: Lab, state: StateDirectory) -> None:
    hub = lab.hub
    c.JupyterHub.bind_url = f"http://{hub.address}:{hub.port}"
    c.JupyterHub.hub_bind_url = f"http://{hub_address(lab)}:{hub.api_port}"
    # The proxy runs apart from the hub, so that a hub restart interrupts nobody.
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{hub.proxy_api_port}"
    c.ConfigurableHTTPProxy.auth_token = state.secret("proxy-token")
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    state.protect_database()
    c.JupyterHub.db_url = hub.database or f"sqlite:///{state.database}"
    c.JupyterHub.cookie_secret_file = str(state.run / "cookie-secret")
    state.secret("cookie-secret")


def _sessions(c: Any, lab: Lab, context: HubContext, state: StateDirectory) -> None:
    c.JupyterHub.spawner_class = LabSpawner.bound_to(context)
    c.JupyterHub.allow_named_servers = True
    # Starts are held back by the spawner itself, where a place in a queue does not count as a start.
    c.JupyterHub.concurrent_spawn_limit = 0
    c.JupyterHub.named_server_limit_per_user = _SESSIONS_BESIDE_THE_MAIN_ONE
    # The hub serves at once; sessions it finds running, and places in queues, are checked meanwhile.
    c.JupyterHub.init_spawners_timeout = 1
    live = places.Places(
        lab,
        lambda: container_facts(context, state.run),
        lambda site: queue_facts(context, site),
    )

    async def options_form(spawner: LabSpawner) -> str:
        return render_spawn_form(
            lab,
            language=pages.visit().language,
            groups=groups_of(spawner.user),
            places=await live.states(groups_of(spawner.user)),
            defaults=pages.visit().posted or _proposal(context, spawner),
            server_name=pages.visit().server_name,
        )

    c.Spawner.options_form = options_form
    _add_handlers([*places.handlers(live), *progress.handlers()])


def _proposal(context: HubContext, spawner: LabSpawner) -> Mapping[str, object]:
    """Return what the form proposes: the profile a tutorial needs if one led here, else the last choice."""
    last: dict[str, object] = spawner.orm_spawner.user_options or {}
    wanted = wanted_environment(spawner.handler.get_argument("next", "") if spawner.handler else "")
    fitting = [one for one in visible_profiles(context.lab, groups_of(spawner.user)) if one.environment == wanted]
    if not fitting or last.get("profile") in {one.name for one in fitting}:
        return last
    return {"profile": fitting[0].name}


def _pages(c: Any, lab: Lab, context: HubContext) -> None:
    pages.install()
    c.JupyterHub.template_paths = pages.template_paths()
    c.JupyterHub.template_vars = {
        **pages.template_vars(lab),
        "session_notices": lambda user: context.notices.get(user.name, {}) if user else {},
    }
    labels = {name: recipe.label for name, recipe in context.environments.items()}
    _add_handlers(
        gallery_handlers.handlers(
            context.tutorials,
            environments_of=context.environments_of,
            environment_labels=labels,
            closed_to=lambda user: closed_environments(lab, groups_of(user)),
        )
    )


def _add_handlers(handlers: Sequence[tuple[Any, ...]]) -> None:
    """Register pages of ours before JupyterHub's own; ``extra_handlers`` would do it with a deprecation warning."""
    default_handlers[:0] = handlers


def _services(c: Any, lab: Lab, state: StateDirectory) -> None:
    c.JupyterHub.services = [
        {"name": KEEPER, "api_token": state.secret("keeper-token")},
        {"name": ADMINISTRATOR, "api_token": state.secret("admin-token")},
    ]
    c.JupyterHub.load_roles = [
        {"name": KEEPER, "scopes": ["list:users", "read:servers", "delete:servers", "proxy"], "services": [KEEPER]},
        {"name": ADMINISTRATOR, "scopes": _ADMINISTRATOR_SCOPES, "services": [ADMINISTRATOR]},
    ]
    if lab.hub.idle_timeout == "never":
        return
    timeout_s = lab.hub.idle_timeout
    every_s = max(5, min(300, timeout_s // _CULL_EVERY_PART))
    c.JupyterHub.services += [
        {
            "name": "springtide-idle-culler",
            "command": [
                # A hub that is killed does not stop its services: this one ends with it by itself.
                *("setpriv", "--pdeathsig", "TERM"),
                *(sys.executable, "-m", "springtide.hub.culling"),
                *(f"--timeout={timeout_s}", f"--cull-every={every_s}"),
            ],
            "environment": {FRONT: os.environ.get(FRONT) or f"http://{lab.hub.address}:{lab.hub.port}"},
        }
    ]
    c.JupyterHub.load_roles += [
        {
            "name": "springtide-idle-culler",
            "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers", "access:servers"],
            "services": ["springtide-idle-culler"],
        }
    ]
    # Activity must be known more often than it is judged, or a busy session would look idle.
    c.JupyterHub.last_activity_interval = max(5, min(300, every_s))


def _authentication(c: Any, lab: Lab, state: StateDirectory) -> None:
    rules = lab.authentication
    c.Authenticator.admin_users = set(rules.admins)
    c.Authenticator.allowed_users = set(rules.users)
    c.Authenticator.allow_all = not rules.users and rules.kind != "custom"
    if rules.kind == "shared-password":
        c.JupyterHub.authenticator_class = "shared-password"
        c.Authenticator.username_pattern = _USER_NAMES
        c.SharedPasswordAuthenticator.user_password = state.password()
        c.SharedPasswordAuthenticator.admin_password = state.secret("admin-password", 20)
    elif rules.kind == "pam":
        c.JupyterHub.authenticator_class = "pam"
    else:
        c.JupyterHub.authenticator_class = rules.authenticator_class
        for class_name, traits in rules.options.items():
            c[class_name].update(traits)


def _logging(c: Any) -> None:
    c.Application.log_format = "%(asctime)s %(levelname)-7s %(message)s"
    c.Application.log_datefmt = "%Y-%m-%d %H:%M:%S"

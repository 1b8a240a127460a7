"""Keeps proxy and hub running, each on its own: a hub that dies is started again, and its sessions go on."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any

import click

from springtide.cli.listening import listens
from springtide.errors import SpringtideError
from springtide.hub.culling import FRONT
from springtide.hub.reach import HUB_ADDRESS, bind_error, hub_address
from springtide.hub.state import StateDirectory
from springtide.lab.models import Lab
from springtide.share import share_path

_HUB_UP_WITHIN_S = 90.0
_STOP_WITHIN_S = 30.0
_PREDECESSOR_ENDS_WITHIN_S = 5.0
_SESSIONS_GONE_WITHIN_S = 180.0
_CONFIGURATION_WRONG = 2
_RESTARTS_IN_A_ROW = 5
_STABLE_AFTER_S = 60.0
_LOG_LINES_SHOWN = 15
_PR_SET_PDEATHSIG = 1


class Supervisor:
    """Starts, watches and stops one platform.

    Parameters
    ----------
    lab_file, lab, state
        What is to run, and where its state is.
    port : int, optional
        Port for browsers, instead of the lab file's.
    keep_sessions : bool
        Whether sessions go on when the platform is stopped.
    """

    def __init__(
        self, lab_file: Path, lab: Lab, state: StateDirectory, *, port: int | None, keep_sessions: bool
    ) -> None:
        self._lab_file = lab_file
        self._lab = lab
        self._state = state
        self._port = port or lab.hub.port
        self._keep_sessions = keep_sessions
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started_at: dict[str, float] = {}
        self._restarts: dict[str, int] = {}
        self._stop = threading.Event()
        self._hub_host = ""
        self._was_up = False
        self._begun = False
        self._lock: IO[str] | None = None

    @property
    def url(self) -> str:
        """Where browsers find the platform."""
        return f"http://{self._lab.hub.address}:{self._port}"

    def __enter__(self) -> Supervisor:
        """Make sure that no other platform uses this state directory, and take the signals."""
        self._lock = self._state.lock.open("w", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpringtideError(
                f"Springtide already runs with the state directory {self._state.path}{self._other()}.",
                "Stop it first, or name another directory with --state.",
            ) from None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop whatever was started, in the order that loses nothing."""
        self.stop()
        if self._lock is not None:
            self._lock.close()

    def start(self) -> None:
        """Start proxy and hub and wait until the hub answers.

        Raises
        ------
        SpringtideError
            If one of them does not start; the last lines of its log are in the message.
        """
        self._begun = True
        self._interrupted()
        self._check_ports()
        self._start("proxy", self._proxy_command())
        self._start("hub", self._hub_command())
        give_up_at = time.monotonic() + _HUB_UP_WITHIN_S
        while not self._hub_answers():
            self._interrupted()
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise SpringtideError(f"The {name} ended at once:\n{self._log_end(name)}")
            if time.monotonic() > give_up_at:
                raise SpringtideError(
                    f"The hub does not answer after {_HUB_UP_WITHIN_S:.0f} s:\n{self._log_end('hub')}"
                )
            time.sleep(0.2)
        self._was_up = True
        self._write_summary()

    def watch(self) -> None:
        """Return when somebody wants the platform stopped; until then, start again what dies."""
        while not self._stop.wait(0.5):
            for name in ("proxy", "hub"):
                status = self._processes[name].poll()
                if status is not None:
                    self._start_again(name, status)

    def stop(self) -> None:
        """Stop the sessions (unless they are to be kept), then hub and proxy. May run many times."""
        if not self._processes:
            return
        click.echo("\nStopping…" + (" (Ctrl-C again: leave sessions running)" if not self._keep_sessions else ""))
        self._stop.clear()
        if self._was_up and not self._keep_sessions:
            self._stop_sessions()
        for name in ("hub", "proxy"):
            process = self._processes.pop(name, None)
            if process is not None:
                _end(process)
        (self._state.run / "up.json").unlink(missing_ok=True)
        click.echo("Stopped. Homes, users and passwords are kept for the next start.")

    # --- processes ----------------------------------------------------------------------------------------------

    def _start(self, name: str, command: list[str]) -> None:
        with (self._state.logs / f"{name}.log").open("ab") as log:
            # A session of its own: Ctrl-C reaches the supervisor alone, which stops things in order.
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                cwd=self._state.path,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        self._started_at[name] = time.monotonic()

    def _start_again(self, name: str, status: int) -> None:
        lived_s = time.monotonic() - self._started_at[name]
        self._restarts[name] = 0 if lived_s > _STABLE_AFTER_S else self._restarts.get(name, 0) + 1
        if status == _CONFIGURATION_WRONG or self._restarts[name] > _RESTARTS_IN_A_ROW:
            raise SpringtideError(f"The {name} cannot go on (exit status {status}):\n{self._log_end(name)}")
        click.echo(f"The {name} ended (exit status {status}); it is started again. Sessions go on.", err=True)
        self._stop.wait(min(10.0, 0.5 * 2 ** self._restarts[name]))
        self._start(name, self._hub_command() if name == "hub" else self._proxy_command())
        give_up_at = time.monotonic() + _HUB_UP_WITHIN_S
        while not self._hub_answers() and time.monotonic() < give_up_at and not self._stop.wait(0.3):
            if self._processes[name].poll() is not None:
                return
        if name == "proxy":
            self._restore_routes()
        self._write_summary()

    def _restore_routes(self) -> None:
        """Have the hub tell a new proxy where the sessions are; by itself it would take minutes to look."""
        try:
            self._ask("POST", "/proxy")
        except OSError as error:
            click.echo(f"The hub does not answer ({error}); sessions come back within minutes.", err=True)

    def _proxy_command(self) -> list[str]:
        hub = self._lab.hub
        return [
            *(sys.executable, "-m", "springtide.hub.proxy"),
            *(f"--ip={hub.address}", f"--port={self._port}"),
            *("--api-ip=127.0.0.1", f"--api-port={hub.proxy_api_port}"),
            "--error-target=" + self._hub_url() + "/hub/error",
        ]

    def _hub_command(self) -> list[str]:
        configuration = share_path("hub_config", "jupyterhub_config.py")
        port = f"--JupyterHub.bind_url={self.url}"
        return [sys.executable, "-m", "jupyterhub", "-f", str(configuration), port]

    def _check_ports(self) -> None:
        hub = self._lab.hub
        wanted = (
            ("port", hub.address, self._port),
            ("api_port", urllib.parse.urlsplit(self._hub_url()).hostname or "", hub.api_port),
            ("proxy_api_port", "127.0.0.1", hub.proxy_api_port),
        )
        # Hub and proxy of a supervisor that was killed need a moment to end.
        give_up_at = time.monotonic() + _PREDECESSOR_ENDS_WITHIN_S
        for key, address, port in wanted:
            while (words := bind_error(address, port)) and time.monotonic() < give_up_at:
                self._interrupted()
                time.sleep(0.2)
            if words:
                raise SpringtideError(
                    f"Port {port} of {address} cannot be used: {words}.",
                    f"Choose another with {'--port or ' if key == 'port' else ''}hub.{key} in the lab file.",
                )

    def _hub_url(self) -> str:
        if not self._hub_host:
            self._hub_host = hub_address(self._lab)
        return f"http://{self._hub_host}:{self._lab.hub.api_port}"

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "SPRINGTIDE_LAB": str(self._lab_file),
            "SPRINGTIDE_STATE": str(self._state.path),
            FRONT: self.url,
            HUB_ADDRESS: urllib.parse.urlsplit(self._hub_url()).hostname or "",
            "CONFIGPROXY_AUTH_TOKEN": self._state.secret("proxy-token"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        }

    def _log_end(self, name: str) -> str:
        try:
            lines = (self._state.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"    {line}" for line in lines[-_LOG_LINES_SHOWN:])

    # --- the hub's API ------------------------------------------------------------------------------------------

    def _hub_answers(self) -> bool:
        try:
            self._ask("GET", "/")
        except OSError:
            return False
        return True

    def _ask(self, method: str, path: str) -> Any:
        # While the hub is away, anybody on the machine may take its port: the token is for our own hub alone.
        hub = self._processes.get("hub")
        if hub is None or not listens(hub.pid, self._lab.hub.api_port):
            raise ConnectionRefusedError("the hub does not listen")
        headers = {"Authorization": f"token {self._state.secret('keeper-token')}"}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(
            urllib.request.Request(f"{self._hub_url()}/hub/api{path}", method=method, headers=headers), timeout=10
        ) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def _stop_sessions(self) -> None:
        """Stop every session and wait until none is left; a second Ctrl-C leaves them as they are."""
        give_up_at = time.monotonic() + _SESSIONS_GONE_WITHIN_S
        said = 0
        while not self._stop.is_set() and time.monotonic() < give_up_at:
            try:
                servers = self._active_servers()
            except OSError as error:
                click.echo(
                    f"The hub does not answer ({error}); running sessions are found at the next start.", err=True
                )
                return
            if not servers:
                return
            if len(servers) != said:
                said = len(servers)
                click.echo(f"  {said} session{'s' if said > 1 else ''} to stop")
            for user, server in servers:
                if not self._stop.is_set():
                    self._stop_server(user, server)
            self._stop.wait(0.5)
        click.echo("Some sessions are left; the next start finds them.", err=True)

    def _active_servers(self) -> list[tuple[str, str]]:
        users = self._ask("GET", "/users?state=active&limit=200")
        return [(user["name"], name) for user in users for name in user.get("servers", {})]

    def _stop_server(self, user: str, server: str) -> None:
        path = f"servers/{server}" if server else "server"
        try:
            self._ask("DELETE", f"/users/{urllib.parse.quote(user)}/{path}")
        except urllib.error.HTTPError as error:
            click.echo(f"  {user}/{server}: {error.reason}", err=True)
        except OSError:
            return

    # --- bookkeeping --------------------------------------------------------------------------------------------

    def _write_summary(self) -> None:
        """Write who runs, for scripts and for the message of a second start."""
        summary = {
            "pid": os.getpid(),
            "hub_pid": self._processes["hub"].pid,
            "proxy_pid": self._processes["proxy"].pid,
            "url": self.url,
            "password": self._state.password(),
        }
        written = self._state.run / "up.json.new"
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(summary, file)
        written.replace(self._state.run / "up.json")

    def _other(self) -> str:
        try:
            other = json.loads((self._state.run / "up.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        return f" (process {other['pid']}, {other['url']})"

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()
        if not self._begun:
            # An image is being built, which takes minutes; nothing runs yet that would have to be stopped.
            self._interrupted()

    def _interrupted(self) -> None:
        if self._stop.is_set():
            raise SpringtideError("Interrupted before it was up.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_parent() -> None:
    """Ask the kernel to end this process with its supervisor, so that a killed one leaves no proxy on the port."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

"""The lab's own registry: Debian's ``docker-registry`` with TLS, a login, and its data in one folder.

``docker-registry`` is a program of one configuration file; this writes the file, runs the program in the foreground and
collects its garbage. Two can never run on one folder: a lock says which one does, and whether it takes images.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml

from springtide.environments.registry import certificates
from springtide.environments.registry.login import Access, Login, write_credentials
from springtide.errors import RegistryError

Progress = Callable[[str], None]

PORT = 5443
USER = "springtide"
_EVERYWHERE = "0.0.0.0"
# Programs, and the Debian packages that have them.
_REGISTRY = ("docker-registry", "docker-registry")
_HTPASSWD = ("htpasswd", "apache2-utils")
# Should this process be killed, the registry must not stay behind.
_END_WITH_US = ("setpriv", "--pdeathsig", "TERM")
_PASSWORD_BYTES = 24
_READ_ONLY = "read-only"
_START_S = 20
_STOP_S = 10
_LOG_LINES = 5


@dataclass(frozen=True)
class RegistryServer:
    """The lab's registry in `folder`, on one address and port of this machine.

    Parameters
    ----------
    folder : Path
        Holds everything: images, certificates, logins. For this account only.
    address : str, optional
        IPv4 address on which it listens.
    port : int, optional
        Its port.
    name : str, optional
        What other machines call this one; empty: by its address.
    """

    folder: Path
    address: str = "127.0.0.1"
    port: int = PORT
    name: str = ""

    @property
    def host(self) -> str:
        """What references call it."""
        return f"{self._called}:{self.port}"

    @property
    def credentials(self) -> Path:
        """The file with the login of whoever builds and pulls images."""
        return self.folder / "credentials.json"

    @property
    def certificate(self) -> Path:
        """The certificate authority that other machines need."""
        return self.folder / "tls" / certificates.AUTHORITY

    @property
    def access(self) -> Access:
        """How to come to it from this machine."""
        return Access(self.credentials, self.certificate)

    @property
    def _called(self) -> str:
        return self.name or (socket.getfqdn() if self.address == _EVERYWHERE else self.address)

    def prepare(self, *, read_only: bool = False) -> Path:
        """Have certificates, a login and a configuration, and return the latter's path. Changes nothing that is right.

        Raises
        ------
        RegistryError
            If a program for it is missing.
        """
        for program in (_REGISTRY, _HTPASSWD):
            _find(*program)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        names = {self._called, self.address, "localhost", "127.0.0.1", socket.gethostname()} - {_EVERYWHERE}
        certificates.ensure_certificates(self.folder / "tls", names)
        # Under another name or port than before, the login of before is of no use to clients.
        if not self._logins.exists() or not self.access.knows(self.host):
            self.set_password(USER)
        configuration = self.folder / "config.yml"
        configuration.write_text(yaml.safe_dump(self._configuration(read_only)), encoding="utf-8")
        return configuration

    def set_password(self, user: str) -> Path:
        """Give `user` a new password, and return the file for this account only in which it stands.

        Raises
        ------
        RegistryError
            If ``htpasswd`` is missing or fails.
        """
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        # By standard input: an argument is seen by everyone on the machine.
        answer = subprocess.run(
            [_find(*_HTPASSWD), "-iB" if self._logins.exists() else "-iBc", str(self._logins), user],
            input=password,
            capture_output=True,
            text=True,
            umask=0o077,
            check=False,
        )
        if answer.returncode != 0:
            raise RegistryError(f"The registry's login of {user} cannot be made: {answer.stderr.strip()}")
        file = self.credentials if user == USER else self.folder / f"credentials-{user}.json"
        write_credentials(file, self.host, Login(user, password))
        return file

    def collect_garbage(self, progress: Progress) -> None:
        """Delete the layers that no image needs any more. An image without a tag stays: a lab file may pin its digest.

        Raises
        ------
        RegistryError
            If it runs and takes images: one that arrives meanwhile would lose layers.
        """
        with self._lock("gc"):
            configuration = self.prepare()
            before = _size(self.folder / "data")
            _run([_find(*_REGISTRY), "garbage-collect", str(configuration)])
            freed = before - _size(self.folder / "data")
        progress(f"freed {freed / 1e6:.0f} MB")

    def serve(self, progress: Progress, *, read_only: bool = False) -> None:
        """Run until Ctrl-C or SIGTERM.

        Raises
        ------
        RegistryError
            If it runs already, or does not start; with the log's last lines.
        """
        with self._lock(_READ_ONLY if read_only else "up"), _until_stopped():
            configuration = self.prepare(read_only=read_only)
            log = self.folder / "registry.log"
            with _running([_find(*_REGISTRY), "serve", str(configuration)], log) as process:
                self._wait_ready(process, log)
                progress(f"https://{self.host}/ is ready")
                status = process.wait()
            raise RegistryError(f"The registry ended by itself with {status}.", f"Its log is {log}.")

    def _wait_ready(self, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and process.poll() is None:
            if self.answers():
                return
            time.sleep(0.1)
        last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])
        raise RegistryError(f"The registry did not start on {self.address}:{self.port}. Its log's last lines:\n{last}")

    def answers(self) -> bool:
        """Say whether a registry with our certificate answers."""
        where = "127.0.0.1" if self.address == _EVERYWHERE else self.address
        try:
            with requests.Session() as session:
                session.trust_env = False
                url = f"https://{where}:{self.port}/v2/"
                return session.get(url, verify=str(self.certificate), timeout=5).status_code in (200, 401)
        except requests.RequestException:
            return False

    @property
    def _logins(self) -> Path:
        return self.folder / "htpasswd"

    @contextmanager
    def _lock(self, purpose: str) -> Iterator[None]:
        """Hold the folder for `purpose`; garbage is collected beside a registry that takes no images, too."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                if purpose == "gc" and lock.read() == _READ_ONLY:
                    yield
                    return
                raise RegistryError(
                    f"The registry in {self.folder} runs already.",
                    "Stop it first (Ctrl-C where it runs); for garbage collection it may be read-only instead: "
                    "springtide registry up --read-only.",
                ) from None
            lock.truncate(0)
            lock.write(purpose)
            lock.flush()
            yield

    def _configuration(self, read_only: bool) -> dict[str, object]:
        tls = self.folder / "tls"
        return {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "data")},
                "delete": {"enabled": True},
                # No cache: after a collection of garbage it would know of layers that are gone.
                "maintenance": {"readonly": {"enabled": read_only}},
            },
            "auth": {"htpasswd": {"realm": "springtide", "path": str(self._logins)}},
            "http": {
                "addr": f"{self.address}:{self.port}",
                "headers": {"X-Content-Type-Options": ["nosniff"]},
                "tls": {
                    "certificate": str(tls / certificates.CERTIFICATE),
                    "key": str(tls / certificates.KEY),
                    "minimumtls": "tls1.2",
                },
            },
        }


def _find(program: str, package: str) -> str:
    # An ordinary user's PATH lacks /usr/sbin.
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if not found:
        raise RegistryError(
            f"The lab's registry needs {program}, which is missing.",
            f"apt install {package} (and switch off its own service: systemctl disable --now docker-registry).",
        )
    return found


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that ends with this block. It gets none of our environment but what it needs."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    # Its own log only, from this start on; in a session of its own, so that Ctrl-C is ours to pass on.
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_END_WITH_US, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**environment, "OTEL_TRACES_EXPORTER": "none"},
            umask=0o077,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _until_stopped() -> Iterator[None]:
    """Leave the block at Ctrl-C and SIGTERM alike."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(command: list[str]) -> None:
    answer = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", umask=0o077, check=False
    )
    if answer.returncode != 0:
        last = "\n".join((answer.stdout + answer.stderr).splitlines()[-_LOG_LINES:])
        raise RegistryError(f"{command[1]} ended with {answer.returncode}:\n{last}")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

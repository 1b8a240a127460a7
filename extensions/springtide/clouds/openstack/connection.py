"""One connection to an OpenStack cloud, opened when it is first needed and again after it has failed.

openstacksdk is imported here alone, and late: who has no site of this kind need not have it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.clouds.base import Flavour
from springtide.errors import CloudError, CloudRefused, CloudUnreachable

if TYPE_CHECKING:
    from openstack.connection import Connection

_NAME = "springtide"
_INSTALL = "pip install 'springtide[openstack]'"
# The library writes requests into its log where that is at the level DEBUG, user-data with the worker's key included.
_SILENT = logging.getLogger("springtide.clouds.openstack.requests")
_SILENT.setLevel(logging.INFO)


@dataclass(frozen=True)
class OpenStackSettings:
    """Which cloud, and what machines are made of there. Names may be ids, too."""

    cloud: str
    """Its name in ``clouds.yaml``."""
    image: str
    """Image that the machines start from; it holds the environment."""
    flavours: tuple[Flavour, ...]
    """Sizes on offer, each the cloud's own flavour of that name."""
    clouds_file: Path | None = None
    """The ``clouds.yaml``; None: where the library looks for it."""
    network: str = ""
    """Network of the machines; empty: the cloud chooses."""
    security_groups: tuple[str, ...] = ()
    """What may reach them; empty: the project's default."""
    key_name: str = ""
    """Key pair for logging in; empty: none."""
    availability_zone: str = ""
    """Empty: the cloud chooses."""
    floating_network: str = ""
    """Network of which each machine gets a floating address; empty: it gets none."""
    disk_bytes: int = 0
    """Size of a volume to start from, made from the image and removed with the machine; 0: the flavour's own disk."""
    request_s: float = 30.0
    """The cloud may be silent for so long."""


class Door:
    """The connection of one cloud, for several threads. Opening and using it blocks."""

    def __init__(self, settings: OpenStackSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._former: list[Connection] = []
        self._users = 0

    @contextmanager
    def open(self) -> Iterator[Connection]:
        """Yield the connection; what goes wrong with it becomes an error of ours.

        Raises
        ------
        CloudRefused
            If the cloud answered no, or the library cannot be used as it is configured.
        CloudUnreachable
            If the cloud did not answer, or did not let us in.
        """
        try:
            import keystoneauth1.exceptions
            import openstack.exceptions
            import requests
            import yaml
        except ImportError as error:
            raise CloudRefused(f"openstacksdk cannot be used: {error}.", _INSTALL) from error
        from springtide.clouds.openstack.answers import explained

        try:
            yield self._entered()
        except CloudUnreachable:
            self._leave()
            raise
        except (
            openstack.exceptions.SDKException,
            keystoneauth1.exceptions.ClientException,
            requests.RequestException,
            yaml.YAMLError,
            OSError,
        ) as error:
            told = explained(error, self.settings.cloud)
            if isinstance(told, CloudUnreachable):
                # What the library has learnt half (which versions there are) must not stay; nor an old password.
                self._leave()
            raise told from error
        finally:
            self._exited()

    def _entered(self) -> Connection:
        with self._lock:
            self._users += 1
            if self._connection is None:
                self._connection = _connect(self.settings)
            return self._connection

    def _leave(self) -> None:
        with self._lock:
            # Another thread may be using it.
            self._former += [self._connection] if self._connection else []
            self._connection = None

    def _exited(self) -> None:
        with self._lock:
            self._users -= 1
            over = [] if self._users else self._former
            self._former = self._former if self._users else []
        for connection in over:
            connection.close()

    def close(self) -> None:
        """Close all connections."""
        self._leave()
        while self._former:
            self._former.pop().close()


def _connect(settings: OpenStackSettings) -> Connection:
    import openstack
    from openstack.config import OpenStackConfig
    from openstack.connection import Connection

    file = settings.clouds_file
    if file is None:
        connection = openstack.connect(settings.cloud, app_name=_NAME, api_timeout=settings.request_s)
    elif file.is_file():
        secret = file.with_name("secure.yaml")
        config = OpenStackConfig([str(file)], secure_files=[str(secret)], load_envvars=False, app_name=_NAME)
        connection = Connection(config=config.get_one(settings.cloud, api_timeout=settings.request_s))
    else:
        raise CloudRefused(f"There is no file {file}.", "clouds_file in the lab file: where clouds.yaml lies.")
    connection.compute.logger = _SILENT
    return connection


def as_unreachable(error: CloudError) -> CloudUnreachable:
    """Return an error as callers know it who cannot be refused anything."""
    if isinstance(error, CloudUnreachable):
        return error
    return CloudUnreachable(error.message, error.hint)

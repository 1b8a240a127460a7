"""The program that the hub starts: ``python -m springtide.broker.service``."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn

from springtide.broker.app import make_app
from springtide.broker.calls import Broker
from springtide.broker.desks import Desks
from springtide.broker.identity import HubIdentity
from springtide.broker.scopes import SERVICE
from springtide.errors import SpringtideError
from springtide.lab.load import load_lab
from springtide.ledger.place import ledger_url
from springtide.ledger.store import Ledger

_BACKLOG = 1024
_ENDS_WITHIN_S = 5


def main() -> int:
    """Serve until a signal ends it."""
    os.umask(0o077)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s broker: %(message)s", datefmt="%Y-%m-%d %H:%M:%S"
    )
    try:
        lab = load_lab(Path(os.environ["SPRINGTIDE_LAB"]))
        state = Path(os.environ["SPRINGTIDE_STATE"])
        with Ledger.open(ledger_url(lab.hub.ledger, state)) as ledger:
            broker = Broker(Desks(lab, ledger, state), HubIdentity(os.environ["JUPYTERHUB_API_URL"], SERVICE))
            app = make_app(broker, os.environ["JUPYTERHUB_SERVICE_PREFIX"])
            where = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
            configuration = uvicorn.Config(
                app,
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_ENDS_WITHIN_S,
            )
            with listening(str(where.hostname), int(where.port or 0)) as listener:
                asyncio.run(uvicorn.Server(configuration).serve([listener]))
    except SpringtideError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a port which the hub keeps for us."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # The hub holds the port too, so that nobody else gets it, and with it people's tokens, while we are down.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.listen(_BACKLOG)
    return listener


if __name__ == "__main__":
    sys.exit(main())

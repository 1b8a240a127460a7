"""One tiny server that plays the sessions of a whole crowd: ``python crowd_session.py PORT``."""

from __future__ import annotations

import asyncio
import sys

import jupyterhub
from tornado.web import Application, RequestHandler


class Session(RequestHandler):
    """Answers everything as a JupyterLab of the hub's own version answers ``/api``."""

    def get(self) -> None:
        self.set_header("X-JupyterHub-Version", jupyterhub.__version__)
        self.finish({"version": "stub"})


async def serve(port: int) -> None:
    Application([(".*", Session)]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))

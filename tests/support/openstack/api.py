"""The HTTP of it: Keystone, Nova, Glance and Neutron under one address."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from tests.support.openstack.project import Project

Body = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.Response]]
_MICROVERSIONS = {"min_version": "2.1", "version": "2.96"}
_OPEN = ("/identity", "/identity/v3", "/identity/v3/auth/tokens", "/compute/v2.1", "/image", "/network")
_QUOTA = "Quota exceeded for instances: Requested 1, but already used {there} of {quota} instances"


class Problem(Exception):
    """An answer that is a no."""

    def __init__(self, status: int, word: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {word: {"code": status, "message": message}}


def application(project: Project) -> web.Application:
    """Return the cloud as a web application."""
    api = Api(project)
    app = web.Application(middlewares=[api.guard])
    app.add_routes(
        [
            web.get("/identity", api.identity_versions),
            web.get("/identity/v3", api.identity_version),
            web.post("/identity/v3/auth/tokens", api.log_in),
            web.get("/compute/v2.1", api.compute_version),
            web.get("/compute/v2.1/flavors", api.flavours),
            web.get("/compute/v2.1/flavors/detail", api.flavours),
            web.get("/compute/v2.1/flavors/{id}", api.shown("flavor", project.flavours)),
            web.get("/compute/v2.1/os-keypairs", api.keys),
            web.get("/compute/v2.1/os-keypairs/{id}", api.key),
            web.post("/compute/v2.1/servers", api.create_server),
            web.get("/compute/v2.1/servers/detail", api.servers),
            web.delete("/compute/v2.1/servers/{id}", api.delete_server),
            web.post("/compute/v2.1/servers/{id}/action", api.console),
            web.get("/image", api.image_versions),
            web.get("/image/v2/images", api.listed("images", project.images)),
            web.get("/image/v2/images/{id}", api.shown("", project.images)),
            web.get("/network", api.network_versions),
            web.get("/network/v2.0/networks", api.listed("networks", project.networks)),
            web.get("/network/v2.0/networks/{id}", api.shown("network", project.networks)),
            web.get("/network/v2.0/security-groups", api.listed("security_groups", _GROUPS)),
            web.get("/network/v2.0/security-groups/{id}", api.shown("security_group", _GROUPS)),
            web.get("/network/v2.0/ports", api.listed("ports", project.ports)),
            web.get("/network/v2.0/floatingips", api.listed("floatingips", project.addresses)),
            web.post("/network/v2.0/floatingips", api.create_address),
            web.delete("/network/v2.0/floatingips/{id}", api.delete_address),
        ]
    )
    return app


_GROUPS: Body = {"g1": {"id": "g1", "name": "default"}, "g2": {"id": "g2", "name": "dask"}}


class Api:
    """The answers."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._booting: set[asyncio.Task[None]] = set()

    @web.middleware
    async def guard(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        async def handle() -> web.StreamResponse:
            if request.path not in _OPEN and request.headers.get("X-Auth-Token") not in self.project.tokens:
                return answer({"error": {"message": "The request you have made requires authentication."}}, 401)
            try:
                found: web.StreamResponse = await handler(request)
            except Problem as problem:
                return answer(problem.body, problem.status)
            return found

        told: web.StreamResponse = await self.project.guarded(request, handle)
        return told

    # --- Keystone ---------------------------------------------------------------------------------------------------

    async def identity_versions(self, request: web.Request) -> web.Response:
        return answer({"versions": {"values": [version(request, "v3.14", "/identity/v3/")]}})

    async def identity_version(self, request: web.Request) -> web.Response:
        return answer({"version": version(request, "v3.14", "/identity/v3/")})

    async def log_in(self, request: web.Request) -> web.Response:
        credential = (await request.json())["auth"]["identity"]["application_credential"]
        if credential != {"id": "springtide", "secret": self.project.secret}:
            raise Problem(401, "error", "The request you have made requires authentication.")
        token = secrets.token_hex(16)
        self.project.tokens.add(token)
        expires = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
        paths = {"identity": "/identity", "compute": "/compute/v2.1", "image": "/image", "network": "/network"}
        catalogue = [
            {"type": kind, "name": kind, "id": kind, "endpoints": [endpoint(request, path)]}
            for kind, path in paths.items()
        ]
        body: Body = {"methods": ["application_credential"], "expires_at": expires, "catalog": catalogue}
        body |= {"user": {"id": "u", "name": "ada"}, "project": {"id": "p", "name": "lab"}, "issued_at": expires}
        return answer({"token": body}, 201, {"X-Subject-Token": token})

    # --- Nova -------------------------------------------------------------------------------------------------------

    async def compute_version(self, request: web.Request) -> web.Response:
        return answer({"version": version(request, "v2.1", "/compute/v2.1/") | _MICROVERSIONS})

    async def flavours(self, request: web.Request) -> web.Response:
        return answer({"flavors": list(self.project.flavours.values())})

    async def keys(self, request: web.Request) -> web.Response:
        return answer({"keypairs": [{"keypair": {"name": "ada"}}]})

    async def key(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != "ada":
            raise Problem(404, "itemNotFound", "The key pair could not be found.")
        return answer({"keypair": {"name": "ada"}})

    async def create_server(self, request: web.Request) -> web.Response:
        project, wish = self.project, (await request.json())["server"]
        image = wish.get("imageRef") or wish["block_device_mapping_v2"][0]["uuid"]
        if image not in project.images:
            raise Problem(400, "badRequest", f"Can not find requested image: {image}")
        if wish.get("key_name", "ada") != "ada":
            raise Problem(400, "badRequest", "Invalid key_name provided.")
        if any(one["name"] not in ("default", "dask") for one in wish.get("security_groups", [])):
            raise Problem(400, "badRequest", "Unable to find security_group with name or id")
        if len(wish["user_data"]) > 65535:
            words = f"Invalid input for field/attribute user_data. Value: {wish['user_data']}. is too long"
            raise Problem(400, "badRequest", words)
        if len(project.servers) >= project.quota:
            raise Problem(403, "forbidden", _QUOTA.format(there=len(project.servers), quota=project.quota))
        server = project.add_server(wish)
        task = asyncio.create_task(project.boot(server))
        self._booting.add(task)
        task.add_done_callback(self._booting.discard)
        return answer({"server": {"id": server["id"], "links": [], "adminPass": "hunter2hunter2"}}, 202)

    async def servers(self, request: web.Request) -> web.Response:
        await self.project.refresh()
        found = list(self.project.servers.values())
        ids = [one["id"] for one in found]
        begin = ids.index(request.query["marker"]) + 1 if "marker" in request.query else 0
        page = found[begin : begin + self.project.page]
        links = []
        if begin + len(page) < len(found):
            links = [{"rel": "next", "href": f"{request.url.origin()}{request.path}?marker={page[-1]['id']}"}]
        return answer({"servers": [without(one, "wish", "machine") for one in page], "servers_links": links})

    async def delete_server(self, request: web.Request) -> web.Response:
        self._is_there(request, self.project.servers)
        await self.project.remove(request.match_info["id"])
        return web.Response(status=204)

    async def console(self, request: web.Request) -> web.Response:
        self._is_there(request, self.project.servers)
        assert "os-getConsoleOutput" in await request.json()
        return answer({"output": await self.project.console(request.match_info["id"])})

    # --- Glance and Neutron -----------------------------------------------------------------------------------------

    async def image_versions(self, request: web.Request) -> web.Response:
        return answer({"versions": [version(request, "v2.9", "/image/v2/")]}, 300)

    async def network_versions(self, request: web.Request) -> web.Response:
        return answer({"versions": [version(request, "v2.0", "/network/v2.0/")]})

    async def create_address(self, request: web.Request) -> web.Response:
        wish = (await request.json())["floatingip"]
        if any(one["port_id"] == wish["port_id"] for one in self.project.addresses.values()):
            raise Problem(409, "NeutronError", "Cannot associate floating IP with port: it has one already.")
        return answer({"floatingip": self.project.add_address(wish)}, 201)

    async def delete_address(self, request: web.Request) -> web.Response:
        self._is_there(request, self.project.addresses)
        del self.project.addresses[request.match_info["id"]]
        return web.Response(status=204)

    def listed(self, key: str, things: dict[str, Body]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            wanted = {name: value for name, value in request.query.items() if name in ("name", "device_id", "port_id")}
            found = [one for one in things.values() if all(one[name] == value for name, value in wanted.items())]
            return answer({key: found})

        return handle

    def shown(self, key: str, things: dict[str, Body]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            self._is_there(request, things)
            thing = things[request.match_info["id"]]
            return answer({key: thing} if key else thing)

        return handle

    def _is_there(self, request: web.Request, things: dict[str, Body]) -> None:
        if request.match_info["id"] not in things:
            raise Problem(404, "itemNotFound", f"{request.match_info['id']} could not be found.")


def answer(body: Body, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(text=json.dumps(body), status=status, headers=headers, content_type="application/json")


def version(request: web.Request, name: str, path: str) -> Body:
    link = {"rel": "self", "href": f"{request.url.origin()}{path}"}
    return {"id": name, "status": "CURRENT", "updated": "2026-01-01T00:00:00Z", "links": [link]}


def endpoint(request: web.Request, path: str) -> Body:
    url = f"{request.url.origin()}{path}"
    return {"id": path, "interface": "public", "region": "lab", "region_id": "lab", "url": url}


def without(thing: Body, *keys: str) -> Body:
    return {key: value for key, value in thing.items() if key not in keys}

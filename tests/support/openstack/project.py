"""What one project has on the cloud, and the machines behind its servers."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from springtide.clouds.base import MachineSpec, MachineState
from springtide.clouds.qemu import QemuCloud

_STATUSES = {
    MachineState.CREATING: ("BUILD", 0),
    MachineState.RUNNING: ("ACTIVE", 1),
    MachineState.STOPPED: ("SHUTOFF", 4),
    MachineState.FAILED: ("ERROR", 0),
}


@dataclass
class Fault:
    """What goes wrong with requests to a path, so often."""

    method: str
    path: str
    times: int = 1
    status: int = 0
    body: str = ""
    delay_s: float = 0.0
    done: bool = False
    """Whether what was asked for is done before it goes wrong: the answer is lost."""
    for_good: bool = False
    """Whether the cloud is silent from then on."""

    def meets(self, request: web.Request) -> bool:
        return self.times > 0 and request.method == self.method and bool(re.search(self.path, request.path))


@dataclass
class Project:
    """Its things by id, as the APIs show them."""

    flavours: dict[str, dict[str, Any]]
    quota: int = 10
    """How many servers it may have."""
    new_status: str = "ACTIVE"
    """What a server on paper becomes."""
    fault_message: str = "No valid host was found. There are not enough hosts available."
    page: int = 1000
    silent: bool = False
    """Whether it breaks off every connection."""
    qemu: QemuCloud | None = None
    servers: dict[str, dict[str, Any]] = field(default_factory=dict)
    user_data: dict[str, str] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    ports: dict[str, dict[str, Any]] = field(default_factory=dict)
    addresses: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """All requests, by method and path."""
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    """Of the application credential."""

    def fails(self, method: str, path: str, **how: Any) -> Fault:
        """Have the next requests to a path go wrong."""
        fault = Fault(method, path, **how)
        self.faults.append(fault)
        return fault

    def count(self, method: str, path: str) -> int:
        """Return how many requests there were."""
        return sum(bool(re.fullmatch(f"{method} {path}", one)) for one in self.asked)

    async def guarded(self, request: web.Request, handle: Callable[[], Awaitable[web.StreamResponse]]) -> Any:
        """Answer, unless something is to go wrong."""
        self.asked.append(f"{request.method} {request.path}")
        fault = next((one for one in self.faults if one.meets(request)), Fault("", "") if self.silent else None)
        if fault is None:
            return await handle()
        fault.times -= 1
        self.silent = self.silent or fault.for_good
        if fault.done:
            await handle()
        await asyncio.sleep(fault.delay_s)
        if fault.status:
            return web.Response(status=fault.status, text=fault.body, content_type="application/json")
        if request.transport:
            request.transport.close()
        return web.Response()

    # --- servers ----------------------------------------------------------------------------------------------------

    def add_image(self, name: str, status: str = "active") -> str:
        new = str(uuid.uuid4())
        self.images[new] = {"id": new, "name": name, "status": status}
        return new

    def add_network(self, name: str) -> str:
        new = str(uuid.uuid4())
        self.networks[new] = {"id": new, "name": name}
        return new

    def add_server(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Make a server as a request describes it."""
        server = {
            "id": str(uuid.uuid4()),
            "name": wish["name"],
            "status": "BUILD",
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "metadata": wish.get("metadata", {}),
            "addresses": {},
            "OS-EXT-STS:power_state": 0,
            "OS-EXT-STS:task_state": None,
            "wish": wish,
        }
        self.servers[server["id"]] = server
        self.user_data[server["id"]] = base64.b64decode(wish.get("user_data", ""), validate=True).decode()
        return server

    async def boot(self, server: dict[str, Any]) -> None:
        """Have its machine started: on paper, or by QEMU."""
        if self.qemu is None:
            self.becomes(server["id"], self.new_status)
            return
        flavour = self.flavours[server["wish"]["flavorRef"]]["name"]
        spec = MachineSpec(server["name"], flavour, self.user_data[server["id"]], "nova")
        info = await self.qemu.create(spec, server["id"])
        server["machine"] = info.id
        self.becomes(server["id"], "ACTIVE", info.address)

    def becomes(self, server_id: str, status: str, address: str = "10.9.0.7") -> None:
        """Change a server's status, and what goes with it."""
        server = self.servers[server_id]
        server["status"] = status
        server["OS-EXT-STS:power_state"] = {"ACTIVE": 1, "SHUTOFF": 4}.get(status, 0)
        if status == "ERROR":
            server["fault"] = {"code": 500, "message": self.fault_message}
        if status == "ACTIVE" and not server["addresses"]:
            server["addresses"] = {"lab": [{"addr": address, "version": 4, "OS-EXT-IPS:type": "fixed"}]}
            port = str(uuid.uuid4())
            self.ports[port] = {"id": port, "device_id": server_id}

    async def refresh(self) -> None:
        """Take over what has become of real machines."""
        if self.qemu is None:
            return
        found = {info.id: info for info in await self.qemu.machines()}
        for server in list(self.servers.values()):
            if info := found.get(server.get("machine", "")):
                server["status"], server["OS-EXT-STS:power_state"] = _STATUSES[info.state]
                server["fault"] = {"message": info.reason}

    async def remove(self, server_id: str) -> None:
        server = self.servers.pop(server_id)
        gone = [port for port, one in self.ports.items() if one["device_id"] == server_id]
        for port in gone:
            del self.ports[port]
        for address in self.addresses.values():
            if address["port_id"] in gone:
                address["port_id"] = None
        if self.qemu and "machine" in server:
            await self.qemu.destroy([server["machine"]])

    async def console(self, server_id: str) -> str:
        if self.qemu:
            return await self.qemu.console(self.servers[server_id]["machine"])
        return f"{self.servers[server_id]['name']} login:\n"

    def add_address(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Make a floating address."""
        new = {"id": str(uuid.uuid4()), "floating_ip_address": f"192.0.2.{len(self.addresses) + 1}", **wish}
        self.addresses[new["id"]] = new
        server = self.servers[self.ports[wish["port_id"]]["device_id"]]
        server["addresses"]["lab"].append(
            {"addr": new["floating_ip_address"], "version": 4, "OS-EXT-IPS:type": "floating"}
        )
        return new

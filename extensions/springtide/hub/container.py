"""Container sessions: DockerSpawner, hardened, one network per user, ends explained."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import docker.errors
import docker.types
from dockerspawner import DockerSpawner
from traitlets import Any as AnyTrait
from traitlets import Integer, Unicode

from springtide.environments.packages import DIGEST_VARIABLE
from springtide.hub.words import spawn_failure
from springtide.texts import translator
from springtide.units import format_memory

HOME = "/home/jovyan"
TUTORIALS = "/srv/tutorials"
_USER = "1000:1000"
_TMP_BYTES = 512 * 2**20
# A user has a handful of sessions, and Docker itself takes three addresses: a /28 holds 13 of them.
_USER_NETWORK_PREFIX = 28
_NETWORK_ATTEMPTS = 20
_KILLED = 137
_EVENTS_LOOKED_BACK_S = 30
_RETRY_PAUSE_S = 5.0
INSTANCE_LABEL = "springtide.instance"
USER_LABEL = "springtide.user"
SERVER_LABEL = "springtide.server"


class ContainerSession(DockerSpawner):
    """A session in a container of this machine's Docker Engine."""

    instance = Unicode(help="Which hub's containers, networks and volumes these are.")
    network_pool = Unicode(help="Address range from which each user gets a network.")
    pids_limit = Integer(1024, help="Processes and threads a session may have.")
    image_label = Unicode(help="What the image is called on the spawn page.")
    language = Unicode("en")

    # Pulling is never right here: images are built or pulled by the administrator, with progress.
    pull_policy = "never"
    remove = True
    use_internal_ip = True
    network_lock = AnyTrait(help="Held while the user's network must not go.")
    keep_state: Callable[[], None]
    tell: Callable[[str], None]
    digest = ""
    """Of the image, once it starts."""
    _last_words = ""
    _events_read_until = 0
    _out_of_memory_seen = False

    def harden(self) -> None:
        """Set everything that keeps a session in its place. Called before `start`."""
        self.network_name = f"springtide-{self.instance}-{self.escaped_name}"
        self.volumes = {f"springtide-{self.instance}-home-{self.escaped_name}": HOME}
        labels = {INSTANCE_LABEL: self.instance, USER_LABEL: self.user.name, SERVER_LABEL: self.name}
        self.environment["SPRINGTIDE_OUT_OF_MEMORY"] = self._out_of_memory_words()
        self.extra_create_kwargs = {"user": _USER, "labels": labels}
        self.extra_host_config = {
            # Removed by us once its end has been read: with auto_remove, why it ended would be lost.
            "auto_remove": False,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "read_only": True,
            "tmpfs": {"/tmp": f"rw,nosuid,nodev,size={_TMP_BYTES},mode=1777"},
            "pids_limit": self.pids_limit,
            "memswap_limit": self.mem_limit,
            "init": True,
        }

    async def start(self) -> tuple[str, int]:
        """Start the container in its user's own network."""
        self.harden()
        self._last_words, self._out_of_memory_seen = "", False
        # The container's name is known before there is one: a hub killed during the start finds it again by that.
        self.keep_state()
        try:
            async with self.network_lock:
                await self._ensure_network()
                self.digest = (await self.docker("inspect_image", self.image))["Id"]
                self.environment[DIGEST_VARIABLE] = self.digest
                address = await super().start()
        except BaseException as failure:
            # The hub stops a session only if it finds its container, so nothing else would put the network away.
            await self._remove_network()
            raise self._in_words(failure) from failure
        ip, port = address
        return str(ip), int(port)

    def _in_words(self, failure: BaseException) -> BaseException:
        """Return what the user is shown of a start that failed."""
        words = translator(self.language)
        if isinstance(failure, docker.errors.ImageNotFound):
            failure = spawn_failure(words("container.image_missing", image=self.image_label), reason="image")
        elif isinstance(failure, docker.errors.APIError):
            failure = spawn_failure(words("container.engine_refused", words=failure.explanation), reason="engine")
        return failure

    async def poll(self) -> int | str | None:
        """Return None while the container runs; else how it ended, in words, the container then being removed."""
        try:
            container = await self.get_object()
            if container and container["State"]["Running"]:
                await self._notice_killed_programs()
                return None
        except (docker.errors.DockerException, OSError) as error:
            # The engine may be restarting, and its containers with it or not: nothing is known, so nothing is lost.
            self.log.warning("The Docker Engine cannot be asked about %s: %s", self.object_name, error)
            return None
        if not container:
            await self._remove_network()
            return self._last_words or 0
        state = container["State"]
        if state["Status"] in ("created", "restarting"):
            return None
        self._last_words = self._explain(state)
        self.log.warning("Session %s ended: %s", self._log_name, self._last_words)
        await self._clean_up()
        return self._last_words

    @property
    def last_words(self) -> str:
        """Why the session ended by itself, for its user; empty where she stopped it."""
        return self._last_words

    async def get_object(self) -> dict[str, Any] | None:
        """Return what the engine says of the container, None where it says that there is none.

        Any other answer is no answer: DockerSpawner would take an engine's internal error for "gone".
        """
        try:
            found: dict[str, Any] = await self.docker("inspect_container", self.object_name)
        except docker.errors.NotFound:
            self.object_id = ""
            return None
        self.object_id = found["Id"]
        return found

    async def stop(self, now: bool = False) -> None:
        """Stop and remove the container, and the user's network with her last session; wait for an absent engine."""
        while True:
            try:
                await super().stop(now=now)
            except docker.errors.NotFound:
                self.object_id = ""
            except (docker.errors.DockerException, OSError) as error:
                # JupyterHub forgets a session whose stop fails, container and all.
                self.log.warning("Session %s cannot be stopped yet: %s", self._log_name, error)
                await asyncio.sleep(_RETRY_PAUSE_S)
                continue
            break
        await self._remove_network()

    def get_state(self) -> dict[str, Any]:
        """Return the container's name, also before there is a container."""
        return {**super().get_state(), "object_name": self.object_name}

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Say what is being waited for."""
        words = translator(self.language)
        yield {"progress": 20, "message": words("container.starting", image=self.image_label)}
        while not self.object_id:
            await asyncio.sleep(0.2)
        yield {"progress": 60, "message": words("container.waiting")}

    async def url(self) -> str:
        """Return where the running container answers; asked by a hub that was killed while it started."""
        ip, port = await self.get_ip_and_port()
        return f"http://{ip}:{port}"

    async def _notice_killed_programs(self) -> None:
        """Tell the user of a kernel that the limit killed: the container goes on, so nothing else would say why."""
        now = int(time.time())
        since, self._events_read_until = self._events_read_until or now - _EVENTS_LOOKED_BACK_S, now
        killed = await asyncio.wrap_future(self.executor.submit(self._out_of_memory_events, since, now))
        if killed:
            self._out_of_memory_seen = True
            self.tell(self._out_of_memory_words())

    def _out_of_memory_words(self) -> str:
        memory = format_memory(int(self.mem_limit or 0))
        return translator(self.language)("container.kernel_out_of_memory", memory=memory)

    def _out_of_memory_events(self, since: int, until: int) -> int:
        wanted = {"container": self.object_id, "event": "oom"}
        return sum(1 for _ in self.client.events(since=since, until=until, filters=wanted, decode=True))

    def _explain(self, state: dict[str, Any]) -> str:
        words = translator(self.language)
        if state.get("OOMKilled") or (state["ExitCode"] == _KILLED and self._out_of_memory_seen):
            return words("container.out_of_memory", memory=format_memory(int(self.mem_limit or 0)))
        key = "container.killed" if state["ExitCode"] == _KILLED else "container.ended"
        return words(key, status=state["ExitCode"])

    async def _clean_up(self) -> None:
        try:
            await self.remove_object()
        except (docker.errors.DockerException, OSError) as error:
            self.log.warning("The container %s could not be removed: %s", self.object_name, error)
        await self._remove_network()

    async def _ensure_network(self) -> None:
        """Create the user's network unless she has one; its range is the first that nobody uses."""
        try:
            await self.docker("inspect_network", self.network_name)
        except docker.errors.NotFound:
            await self._create_network()

    async def _create_network(self) -> None:
        refused: set[ipaddress.IPv4Network] = set()
        said = ""
        for _ in range(_NETWORK_ATTEMPTS):
            used = _subnets(await self.docker("networks")) | routed_networks()
            subnet = first_free_subnet(ipaddress.IPv4Network(self.network_pool), used | refused)
            if subnet is None:
                break
            ipam = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=str(subnet))])
            labels = {INSTANCE_LABEL: self.instance, USER_LABEL: self.user.name}
            try:
                await self.docker(
                    "create_network", self.network_name, driver="bridge", ipam=ipam, labels=labels, check_duplicate=True
                )
            except docker.errors.APIError as error:
                if error.status_code == 409:  # made meanwhile by the user's other session
                    return
                said = str(error.explanation)
                self.log.warning("The range %s cannot be used: %s", subnet, said)
                refused.add(subnet)
                continue
            return
        words = translator(self.language)
        text = words("container.engine_refused", words=said) if said else ""
        raise spawn_failure(text or words("container.no_network", pool=self.network_pool), reason="network")

    async def _remove_network(self) -> None:
        """Remove the user's network unless another session of hers still uses it."""
        async with self.network_lock:
            try:
                await self.docker("remove_network", self.network_name)
            except (docker.errors.DockerException, OSError) as error:
                self.log.debug("The network %s stays: %s", self.network_name, error)


def first_free_subnet(
    pool: ipaddress.IPv4Network, used: Iterable[ipaddress.IPv4Network]
) -> ipaddress.IPv4Network | None:
    """Return the first /28 of `pool` that overlaps none of `used`, None where the pool is exhausted."""
    taken = list(used)
    candidates = pool.subnets(new_prefix=max(_USER_NETWORK_PREFIX, pool.prefixlen))
    return next((one for one in candidates if not any(one.overlaps(other) for other in taken)), None)


def routed_networks(table: Path = Path("/proc/net/route")) -> set[ipaddress.IPv4Network]:
    """Return the IPv4 networks this machine has routes to: a range of Docker's within one would take its traffic."""
    rows = (line.split() for line in table.read_text(encoding="ascii").splitlines()[1:])
    pairs = ((_address(row[1]), _address(row[7])) for row in rows if len(row) > 7)
    return {ipaddress.IPv4Network(f"{network}/{mask}") for network, mask in pairs if mask != "0.0.0.0"}


def _address(little_endian: str) -> str:
    return str(ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(little_endian), "little")))


def _subnets(networks: list[dict[str, Any]]) -> set[ipaddress.IPv4Network]:
    """Return the IPv4 ranges that Docker's networks hold."""
    configs = (config for network in networks for config in (network.get("IPAM", {}).get("Config") or []))
    ranges = (str(config.get("Subnet", "")) for config in configs)
    return {ipaddress.IPv4Network(one) for one in ranges if one and ":" not in one}

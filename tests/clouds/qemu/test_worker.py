"""A worker on a real machine joins a scheduler of this one over TLS, works, and the machine ends with it."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any

import distributed
from distributed.comm import core as comms

from springtide.clouds.base import MachineSpec, MachineState
from springtide.clouds.qemu import QemuCloud
from springtide.clouds.userdata import worker_script
from tests.clouds.qemu.test_machines import ended
from tests.support.dask_keys import fresh_security, worker_options

# Most of it has no annotations.
dask: Any = distributed
connect: Any = comms.connect


async def test_a_worker_joins_over_tls_computes_and_its_idle_machine_powers_off(cloud: QemuCloud) -> None:
    security = fresh_security()
    here = await cloud.prepare()
    lonely = worker_script(worker_options(security, f"tls://{here}:9", "lonely", death_timeout_s=1.0))
    other = await cloud.create(MachineSpec("vm-lonely", "small", lonely, "lab"), "token-lonely")
    async with (
        dask.Scheduler(host=here, port=0, protocol="tls://", security=security, dashboard=False) as scheduler,
        dask.Client(scheduler.address, security=security, asynchronous=True) as client,
    ):
        options = worker_options(security, scheduler.address, "cloud-0", idle_s=4.0)
        machine = await cloud.create(MachineSpec("vm-worker", "small", worker_script(options), "lab"), "token")
        try:
            await client.wait_for_workers(1, timeout=120)
        except TimeoutError:
            raise AssertionError(await cloud.console(machine.id)) from None
        [worker] = scheduler.workers.values()
        assert (worker.name, worker.host) == ("cloud-0", machine.address)
        results = client.map(lambda number: number * number, range(50))
        assert await client.gather(results) == [number * number for number in range(50)]
        account = await client.submit(os.getuid)
        assert account == 1000
        modes = await client.submit(lambda: oct(os.stat("worker.key").st_mode & 0o777))
        assert modes == "0o600"
        await _refused_without_a_key(worker.address)
        for future in results:
            future.release()
        del results

        assert (await ended(cloud, machine.id)).reason == "user-data ended with 0", await cloud.console(machine.id)
        assert "nothing to do for 4 s" in await cloud.console(machine.id)
    # One that never reached its scheduler has ended by itself, too.
    assert (await ended(cloud, other.id)).state is MachineState.STOPPED
    assert "Timed out" in await cloud.console(other.id)


async def _refused_without_a_key(address: str) -> None:
    stranger = fresh_security().get_connection_args("client")
    try:
        comm = await asyncio.wait_for(connect(address, timeout=5, **stranger), 10)
    except (OSError, ssl.SSLError):
        return
    await comm.close()
    raise AssertionError("a stranger was let in")

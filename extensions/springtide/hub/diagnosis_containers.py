"""Whether the nodes of a batch site run containers: a job of a second in the image of each environment used there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from springtide.environments.catalog import resolve, shipped
from springtide.environments.conversions.places import ImageCaches
from springtide.environments.sites import SiteImage, check_runtime, runtime_of
from springtide.errors import SpringtideError
from springtide.hub.batch_script import logged_script
from springtide.hub.findings import Finding
from springtide.lab.models import BatchSite, Lab
from springtide.queues.accounts import UserQueue
from springtide.queues.model import JobRequest, JobState, new_job_token
from springtide.units import describe_duration

_STARTS_WITHIN_S = 60.0
_RUNS_WITHIN_S = 120.0
_LOOKS_EVERY_S = 0.5
_MEMORY_BYTES = 2**28
_SAID = "springtide: a container runs on "
_SAY = f'read node </proc/sys/kernel/hostname; echo "{_SAID}$node"'


@dataclass(frozen=True)
class _Tried:
    log: list[str]
    waited: bool
    """Whether it never started."""
    took_s: float


def examine_containers(lab: Lab, name: str, user_queue: UserQueue, state: Path) -> Iterable[Finding]:
    """Yield a finding for each environment that sessions and workers of a site run in."""
    site = lab.sites[name]
    assert isinstance(site, BatchSite)
    used = {profile.environment for profile in lab.profiles if profile.site == name}
    used |= {site.workers.environment} if site.workers else set()
    for environment in sorted(used):
        subject = f"{name}: image {environment}"
        try:
            image = _image_there(lab, environment, name, site, user_queue, state)
            if image is None:
                hint = f"Who needs it first waits for that; to convert it now: springtide env convert {environment}"
                yield Finding(subject, "absent", "not converted yet", hint, site=name)
                continue
            yield _judged(subject, name, site, asyncio.run(_try(image, site, user_queue)))
        except SpringtideError as error:
            yield Finding(subject, "broken", error.message, error.hint, site=name)


def _image_there(
    lab: Lab, environment: str, name: str, site: BatchSite, user_queue: UserQueue, state: Path
) -> SiteImage | None:
    check_runtime(site, name)
    runtime = runtime_of(site)
    entry = ImageCaches.of(lab, state).find(
        {**shipped(), **resolve(lab)}[environment], runtime.form, shared_only=user_queue.account.way != "same"
    )
    return SiteImage(runtime, entry) if entry else None


async def _try(image: SiteImage, site: BatchSite, user_queue: UserQueue) -> _Tried:
    token = new_job_token()
    command = image.command(("/bin/sh", "-c", _SAY), user_queue.account.home, site.environment_variables)
    request = JobRequest(
        body=logged_script(token, command.environment, site.prologue, command.argv),
        name=token,
        ranks=1,
        memory_bytes=_MEMORY_BYTES,
        walltime_s=int(_RUNS_WITHIN_S),
        queue=site.queue,
        account=site.account,
        directives=site.directives,
    )
    began = time.monotonic()
    job_id = await user_queue.submit(user_queue.queue.script(request))
    try:
        waited = await _never_started(user_queue, job_id)
        return _Tried(await user_queue.log_tail(token), waited, time.monotonic() - began)
    finally:
        await user_queue.cancel(job_id)
        await user_queue.remove_log(token)


async def _never_started(user_queue: UserQueue, job_id: str) -> bool:
    """Wait for the end of a job; return whether it waited for too long to start."""
    began = time.monotonic()
    while True:
        job = (await user_queue.queue.details([job_id])).get(job_id)
        passed_s = time.monotonic() - began
        if job is None or job.state is JobState.FINISHED or passed_s > _STARTS_WITHIN_S + _RUNS_WITHIN_S:
            return False
        if job.state.waits and passed_s > _STARTS_WITHIN_S:
            return True
        await asyncio.sleep(_LOOKS_EVERY_S)


def _judged(subject: str, name: str, site: BatchSite, tried: _Tried) -> Finding:
    if tried.waited:
        message = f"not tried: the queue had no room within {describe_duration(_STARTS_WITHIN_S)}"
        return Finding(subject, "absent", message, "Try again when it is shorter.", site=name)
    for line in tried.log:
        if line.startswith(_SAID):
            node = line.removeprefix(_SAID)
            message = f"a container of {site.runtime} runs on {node}; its job took {tried.took_s:.1f} s"
            return Finding(subject, "ok", message, site=name)
    words = tried.log[-1] if tried.log else "its job left no word"
    hint = f"Install {site.runtime} on the nodes, or name it there with runtime_program; they must see the images."
    return Finding(subject, "broken", f"a container of {site.runtime} does not run: {words}", hint, site=name)

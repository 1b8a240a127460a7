"""Pools from configuration: Dask's (``springtide.cluster.pools`` in its YAML files), or the lab file's sites.

In Dask's configuration::

    springtide:
      cluster:
        pools:
          local: {kind: local, maximum: 4}
          cluster: {kind: slurm, maximum: 20, walltime: 2h, cores: 4, memory: 8G, interface: ib0}
          cloud: {kind: qemu, maximum: 2, lifetime: 1h}

In the lab file, each site with ``workers`` is a pool, and so is each cloud::

    sites:
      cluster: {kind: slurm, queue: batch, workers: {cores: 4, memory: 8G, walltime: 2h, maximum: 20}}
      cloud: {kind: qemu, maximum_machines: 2}
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask
from pydantic import TypeAdapter, ValidationError

from springtide.clouds.opening import open_cloud, terms_of
from springtide.cluster.pools.base import Pool, WorkerOptions
from springtide.cluster.pools.batch import BatchPool
from springtide.cluster.pools.cloud import CloudPool
from springtide.cluster.pools.local import LocalPool
from springtide.environments.catalog import shipped
from springtide.environments.conversions.places import ImageCaches
from springtide.environments.sites import image_at
from springtide.errors import SpringtideError
from springtide.lab.clouds import CloudSite, OpenStackSite
from springtide.lab.load import load_lab
from springtide.lab.models import BATCH_KINDS, BatchSite, Lab, LocalSite, Site, Workers
from springtide.ledger.place import state_directory

_KEY = "springtide.cluster.pools"
_WORKER_FIELDS = {field.name for field in dataclasses.fields(WorkerOptions)}
_BATCH_KINDS = (*BATCH_KINDS, "batch", "queue")
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]")


def configured_pools() -> Sequence[Pool]:
    """Return the pools of Dask's configuration, else of the lab file in ``SPRINGTIDE_LAB``, else this machine's own.

    Raises
    ------
    SpringtideError
        If the configuration cannot be understood.
    """
    said: Mapping[str, Any] = dask.config.get(_KEY, default=None) or {}
    if said:
        return [_of_dask(name, dict(settings or {})) for name, settings in said.items()]
    lab = os.environ.get("SPRINGTIDE_LAB")
    return (pools_of_lab(Path(lab)) if lab else ()) or (LocalPool(),)


def pools_of_lab(path: Path) -> Sequence[Pool]:
    """Return a pool for each site of the lab file that says how its Dask workers are.

    Raises
    ------
    LabFileError
        If the lab file cannot be used.
    """
    lab = load_lab(path)
    pools = [_of_site(lab, name, site, site.workers) for name, site in lab.sites.items() if site.workers]
    return [*pools, *(_of_cloud(name, cloud) for name, cloud in lab.clouds.items())]


def _pool_name(name: str) -> str:
    return _NOT_IN_A_NAME.sub("", name.lower())[:16]


def _of_cloud(name: str, site: CloudSite) -> Pool:
    python = site.python if isinstance(site, OpenStackSite) else ""
    return CloudPool(
        _pool_name(name),
        WorkerOptions(cores=0, python=python),
        maximum=site.maximum_machines,
        cloud=open_cloud(name, site, state_directory(None), shipped()["base"].image),
        lifetime=site.lifetime,
        quantum=site.billing_quantum,
        site_terms=terms_of(site),
        site_name=name,
    )


def _of_site(lab: Lab, name: str, site: Site, workers: Workers) -> Pool:
    """Return the pool of a site."""
    fields = workers.model_dump(include=_WORKER_FIELDS)
    said = {key: value for key, value in fields.items() if value}
    options = WorkerOptions(**said)
    pool: dict[str, Any] = {"name": _pool_name(name), "worker": options}
    pool |= {"maximum": workers.maximum} if workers.maximum else {}
    if isinstance(site, LocalSite):
        return LocalPool(**pool)
    if site.runtime != "host":
        caches = ImageCaches.of(lab, state_directory(lab.hub.state_directory))
        pool["image"] = functools.partial(image_at, lab, workers.environment, name, caches)
    return BatchPool(**pool, site=site, walltime=workers.walltime, site_name=name)


def _of_dask(name: str, settings: dict[str, Any]) -> Pool:
    kind = settings.pop("kind", "local" if name == "local" else "batch")
    settings = {key.replace("-", "_"): value for key, value in settings.items()}
    worker = {key: settings.pop(key) for key in list(settings) if key in _WORKER_FIELDS}
    try:
        options = TypeAdapter(WorkerOptions).validate_python(worker)
        if kind == "local":
            return LocalPool(name, options, **settings)
        if kind == "qemu":
            return CloudPool(name, options, **settings)
        if kind not in _BATCH_KINDS:
            raise SpringtideError(
                f"{_KEY}.{name}: there is no kind of pool “{kind}”.", f"Known: local, qemu, {', '.join(_BATCH_KINDS)}."
            )
        commands = settings.pop("commands", None)
        site = LocalSite(kind="local") if kind == "queue" else BatchSite(kind=kind, commands=commands)
        return BatchPool(name, options, site=site, **settings)
    except (TypeError, ValueError, ValidationError) as error:
        raise SpringtideError(f"{_KEY}.{name} cannot be used: {error}") from error

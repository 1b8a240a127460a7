"""Lab files of the end-to-end tests, each with one kind of site."""

from __future__ import annotations

from typing import Any

SMALL = {"cpus": 1, "memory": {"default": "1G", "min": "256M", "max": "2G"}}


def process_lab() -> dict[str, Any]:
    """Return a lab of plain processes."""
    return {
        "springtide": 1,
        "sites": {"machine": {"kind": "local", "runtime": "host"}},
        "profiles": [{"name": "process", "site": "machine", **SMALL}],
    }


def slurm_lab(**site: Any) -> dict[str, Any]:
    """Return a lab with Debian's Slurm."""
    return {
        "springtide": 1,
        "sites": {"cluster": {"kind": "slurm", "commands": "/usr/bin", "accounts": "user", **site}},
        "profiles": [
            {
                "name": "batch",
                "site": "cluster",
                "cpus": {"default": 1, "min": 1, "max": 4},
                "memory": {"default": "512M", "min": "256M", "max": "1G"},
                "walltime": {"default": "30m", "max": "1h"},
                "queues": ["batch", "short"],
            }
        ],
    }


def container_lab() -> dict[str, Any]:
    """Return a lab of containers."""
    return {
        "springtide": 1,
        "sites": {"containers": {"kind": "local", "runtime": "docker"}},
        "profiles": [
            {"name": "container", "site": "containers", "cpus": {"max": 2}, "memory": {"default": "512M", "max": "1G"}}
        ],
    }

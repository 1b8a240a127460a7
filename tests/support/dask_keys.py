"""Keys for a Dask scheduler of the tests and its workers."""

from __future__ import annotations

from typing import Any

from distributed import security

from springtide.clouds.userdata import WorkerOptions

# Has no annotations.
Security: Any = security.Security


def fresh_security() -> Any:
    """Return keys that nobody else has."""
    return Security.temporary()


def worker_options(security: Any, scheduler: str, name: str, **changes: object) -> WorkerOptions:
    """Return what a worker with these keys needs."""
    values: dict[str, object] = {
        "scheduler": scheduler,
        "name": name,
        "authority": security.tls_ca_file,
        "certificate": security.tls_worker_cert,
        "key": security.tls_worker_key,
        "lifetime_s": 240.0,
        "death_timeout_s": 30.0,
        "nanny": False,
    }
    return WorkerOptions(**(values | changes))  # type: ignore[arg-type]

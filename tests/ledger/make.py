"""Records as the tests write them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from springtide.ledger.records import JobRecord, MachineRecord


def job(token: str, **fields: Any) -> JobRecord:
    whose = {"site": "cluster", "user": "alice", "account": "alice"}
    return JobRecord(token, **{**whose, "name": "orbit", "scheduler_name": f"orbit-{token}", **fields})


def machine(token: str, **fields: Any) -> MachineRecord:
    return MachineRecord(token, **{"site": "cloud", "user": "alice", "name": "worker", **fields})


def full(record: type[JobRecord] | type[MachineRecord], token: str) -> Any:
    """Return a record with a value of its own in every field."""
    examples: dict[str, Any] = {"int": 10_000_000_000, "float": 0.25, "int | None": -29, "float | None": 1.5}
    kinds = {field.name: str(field.type) for field in fields(record)}
    values: dict[str, Any] = {
        name: f"some {name}, é" if kind == "str" else examples[kind] for name, kind in kinds.items()
    }
    return record(**{**values, "token": token})

"""Workers that stand in for paid machines: processes of this machine, with a boot, a price and an end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from springtide.cluster.bodies import Terms
from springtide.cluster.observation import CloudFlavour, PoolKind
from springtide.cluster.pools.base import Contact, seconds
from springtide.cluster.pools.local import LocalPool

_FLAVOUR = "rehearsed"
# The first word ends the worker when its time is over, as a machine's own clock does.
_BOOT = 'sleep "$1" && shift && exec timeout --kill-after=5 "$@"'


@dataclass
class RehearsalPool(LocalPool):
    """Processes of this machine that a cluster treats as machines of a cloud, to rehearse without one.

    Nothing is paid and nothing is written into the ledger; budget, billing steps, boots and lifetimes count as they
    would for machines.

    Parameters
    ----------
    price_per_hour : float
        What one is said to cost.
    boot_s : float
        How long one seems to boot before its worker starts.
    lifetime : int or str
        The longest that one exists, its boot included: seconds, or "2h".
    quantum : int or str
        It is billed in whole steps of this length.
    """

    name: str = "cloud"
    maximum: int = 2
    price_per_hour: float = 0.12
    boot_s: float = 3.0
    lifetime: int | str = 900
    quantum: int | str = 60
    kind = PoolKind.CLOUD

    @property
    def terms(self) -> Terms:
        """What the cluster plans with."""
        lifetime_s = float(seconds(self.lifetime))
        return Terms(
            self.name,
            self.maximum,
            price_per_hour=self.price_per_hour,
            quantum_s=float(seconds(self.quantum)),
            longest_s=lifetime_s,
            join_within_s=self.boot_s + self.worker.death_timeout_s + 30.0,
            lifetime_s=lifetime_s / 2,
        )

    def _command(self, name: str, contact: Contact) -> list[str]:
        lifetime_s = float(seconds(self.lifetime))
        return ["sh", "-c", _BOOT, "boot", f"{self.boot_s}", f"{lifetime_s}", *super()._command(name, contact)]

    def offer(self) -> dict[str, Any]:
        """Return size, price and times."""
        terms, worker = self.terms, self.worker
        flavour = CloudFlavour(_FLAVOUR, worker.cores, self.price_per_hour, worker.memory_bytes)
        return {"flavours": (flavour,), "quantum_s": terms.quantum_s, "boot_s": self.boot_s}

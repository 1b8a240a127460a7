"""What a replay supposes of the cloud, of data and of money."""

from __future__ import annotations

from dataclasses import dataclass

from springtide.cluster.observation import CloudFlavour

# An invented price of 0.04 per core-hour, whatever the size: about what public clouds ask for ordinary machines.
_FLAVOURS = (CloudFlavour("c4", 4, 0.16), CloudFlavour("c16", 16, 0.64))


@dataclass(frozen=True)
class World:
    """The circumstances of a replay; every job that goes to the cloud gets machines of its own, used by it alone."""

    flavours: tuple[CloudFlavour, ...] = _FLAVOURS
    boot_s: float = 180.0
    quantum_s: float = 60.0
    """Machines are billed in whole steps of this length, from the moment they are asked for."""
    bytes_per_core: float = 1e9
    """To be moved to the cloud for each core of a job."""
    bandwidth_bytes_per_s: float = 100e6
    maximum_machines: int = 100_000
    creations_per_minute: int = 100_000
    budget: float | None = None

    def transfer_s(self, cores: int) -> float:
        """Return how long the data of a job take to the cloud."""
        return cores * self.bytes_per_core / self.bandwidth_bytes_per_s

    def ready_s(self, cores: int) -> float:
        """Return how long it takes from asking for machines until a job can start there."""
        return self.boot_s + self.transfer_s(cores)

"""Podman without root: Docker's command line, as one's own account.

Its images lie in a store of the account's own (``podman pull``, ``podman load``).
"""

from __future__ import annotations

from springtide.environments.runtimes.asked import ask, program
from springtide.environments.runtimes.docker import Docker


class Podman(Docker):
    """A container of this account's, without any engine that runs as root."""

    name = "podman"
    hint = (
        "Install it (Debian: apt install podman uidmap), and give this account a range in /etc/subuid and /etc/subgid."
    )

    def version(self) -> str:
        """Return the version; asking for it also tries whether this account may have containers."""
        podman = program(self.name, self.hint)
        return ask([podman, "info", "--format", "{{.Version.Version}}"], self.hint)

    def _account(self) -> list[str]:
        # Groups cannot be named by number within one's own range; crun keeps those that the account has.
        return ["--userns=keep-id", *super()._account()[:1], "--group-add=keep-groups"]

    def _cards(self) -> list[str]:
        return ["--device=nvidia.com/gpu=all"]

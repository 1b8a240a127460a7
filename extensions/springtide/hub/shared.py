"""Objects of which the hub has one: they are shared where JupyterHub copies its configuration."""

from __future__ import annotations

from typing import Self


class Shared:
    """Base of what must stay one object; traitlets copies deeply whatever is put in the configuration."""

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return this very object."""
        return self

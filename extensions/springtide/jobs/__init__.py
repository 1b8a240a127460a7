"""Jobs of applications: declared once, submitted from anywhere, kept with all that is needed to run them again.

``applications`` reads what can be run and checks what is asked of it; ``spec`` is one such wish, ``desk`` carries
wishes to the sites' queues and follows them. Nothing here knows of widgets, terminals or HTTP: they all call ``desk``.
``api`` is what Python code calls; ``springtide.jobs()`` itself lists one's jobs.
"""

from __future__ import annotations

import sys
import types
from typing import Any


class _Jobs(types.ModuleType):
    """This package, which can be called: its name is that of the function that people look for."""

    def __call__(self, **options: Any) -> Any:
        """Return your jobs of applications, the newest first: see `springtide.jobs.api.list_jobs`."""
        from springtide.jobs.api import list_jobs

        return list_jobs(**options)


sys.modules[__name__].__class__ = _Jobs

"""Errors shaped for the pages where users look: the spawn page and the API's answers."""

from __future__ import annotations

import html
from collections.abc import Sequence

from jupyterhub.spawner import SpawnException

from springtide.errors import SpringtideError


def spawn_failure(message: str, *, reason: str, log: Sequence[str] = (), status_code: int = 500) -> SpawnException:
    """Return the exception that shows `message`, and the session's last lines, on the spawn page."""
    shown = html.escape(message)
    if log:
        shown += "<pre class='springtide-log'>" + html.escape("\n".join(log)) + "</pre>"
    plain = "\n".join([message, *log])
    failure = SpawnException(plain, reason=reason, message_html=shown, log_message=message, status_code=status_code)
    # The pages show these two attributes, and nothing else that an exception carries.
    failure.jupyterhub_message, failure.jupyterhub_html_message = plain, shown
    return failure


def spawn_failure_of(error: SpringtideError, *, reason: str, status_code: int = 500) -> SpawnException:
    """Return the exception that shows one of our errors, hint included, on the spawn page."""
    return spawn_failure(str(error), reason=reason, status_code=status_code)

"""The broker's own program, for a lab with a queue of this machine: what a test kills. Users share our account."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from springtide.broker import desks, service
from springtide.broker.sites import Sites
from springtide.queues import opening
from springtide.queues.opening import caller

if __name__ == "__main__":
    folder = Path(os.environ["SPRINGTIDE_STATE"]).parent
    Sites.account_of = lambda self, user: caller()  # type: ignore[method-assign]  # no account has these names
    setattr(desks, "jobs_folder", lambda user, account: folder / "jobs-of" / user)  # noqa: B010  # not exported
    setattr(opening, "commands_folder", lambda: Path(os.environ["TEST_COMMANDS"]))  # noqa: B010
    sys.exit(service.main())

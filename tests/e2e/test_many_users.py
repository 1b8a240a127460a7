"""Many people at once: all of them get in and get a session. How long it takes a hundred, BENCHMARKS.md says."""

import time
from pathlib import Path

from tests.support.crowd import running_crowd_hub
from tests.support.leaks import LeakCheck


async def test_twenty_five_users_log_in_and_start_at_once(nothing_left: LeakCheck, tmp_path: Path) -> None:
    begun = time.monotonic()
    with running_crowd_hub(tmp_path) as hub:
        arrivals = await hub.receive(25)
    assert [one for one in arrivals if one.failure] == []
    assert len({one.user for one in arrivals}) == 25
    assert time.monotonic() - begun < 30

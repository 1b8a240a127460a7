"""Several processes and threads use one ledger; a process may be killed at any moment."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from springtide.ledger.records import SUBMITTING
from springtide.ledger.store import Ledger
from tests.ledger.make import job

PROCESSES = 8
COUNT = 12
ROOT = Path(__file__).parents[2]


@contextmanager
def writers(place: str, number: int, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Yield processes that begin at once; none is left afterwards."""
    with ExitStack() as stack:
        command = [sys.executable, "-m", "tests.ledger.writer", place]
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, f"user{one}", str(count)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                )
            )
            for one in range(number)
        ]
        for process in started:
            stack.callback(process.kill)
        for process in started:
            assert process.stdin
            process.stdin.write("begin\n")
            process.stdin.flush()
        yield started


def test_many_processes_make_and_write_one_ledger_and_lose_nothing(new_place: str) -> None:
    with writers(new_place, PROCESSES, COUNT) as started:
        ends = [process.communicate(timeout=60) for process in started]
    assert [end for end in ends if end != ("written\n", "")] == []
    with Ledger.open(new_place) as ledger:
        found = ledger.jobs()
        assert Counter(one.user for one in found) == {f"user{number}": 2 * COUNT for number in range(PROCESSES)}
        assert all(one.state == "queued" and one.job_id == one.token for one in found)
        assert len(ledger.events()) == len(found)


def test_a_process_killed_at_any_moment_leaves_whole_transactions(new_place: str) -> None:
    with Ledger.open(new_place) as ledger:
        with writers(new_place, 2, 100_000) as started:
            for process in started:
                seen = len(ledger.jobs())
                deadline = time.monotonic() + 20
                while len(ledger.jobs()) < seen + 30 and time.monotonic() < deadline:
                    time.sleep(0.01)
                process.kill()
                process.wait(10)
        found = ledger.jobs()
        assert len(found) >= 60
        both = Counter(one.token.rpartition("-")[0] for one in found)
        assert set(both.values()) == {2}
        queued = {one.token for one in found if one.state == "queued"}
        assert {event.token for event in ledger.events()} == queued
        assert len([one for one in found if one.state == SUBMITTING]) <= 4
        ledger.add_jobs([job("a")])


def test_threads_share_a_ledger(ledger: Ledger) -> None:
    failures: list[Exception] = []

    def write(name: int) -> None:
        try:
            for number in range(5):
                ledger.add_jobs([job(f"{name}-{number}")])
                ledger.update_job(f"{name}-{number}", state="running")
                assert ledger.job(f"{name}-{number}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(ledger.jobs(states=["running"])) == 160

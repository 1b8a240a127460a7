"""Faults that must lose nothing, each on a real Slurm: no orphan, no forgotten job, none declared dead while alive."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from springtide.errors import QueueUnreachable
from springtide.ledger.records import REFUSED, SUBMITTING, JobRecord
from springtide.ledger.store import Ledger
from springtide.queues import launcher
from springtide.queues.accounts import UserQueue
from springtide.queues.commands import run_command
from springtide.queues.dispatch import Dispatcher
from springtide.queues.slurm.queue import SlurmQueue
from tests.queues.dispatching import Commands, dispatcher_at, is_in, myself, refreshed_until, request
from tests.support.need import require
from tests.support.slurm import NODES, Slurm, running_slurm


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite", patience_s=0.2) as opened:
        yield opened


@pytest.fixture
def commands(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    """Yield the cluster's commands; what was submitted is cancelled at the end."""
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    yield Commands(tmp_path / "bin", slurm.commands)
    slurm.cancel_all()


@pytest.fixture
def dispatcher(commands: Commands, ledger: Ledger) -> Dispatcher:
    return dispatcher_at(commands.folder, ledger)


def names_of(slurm: Slurm) -> list[str]:
    return sorted(job.name for job in slurm.jobs())


# --- the scheduler is away ------------------------------------------------------------------------------------------


@contextmanager
def controller_away(slurm: Slurm) -> Iterator[None]:
    slurm.stop_controller()
    try:
        yield
    finally:
        slurm.start_controller()


@contextmanager
def munge_away(slurm: Slurm) -> Iterator[None]:
    slurm.stop_munge()
    try:
        yield
    finally:
        slurm.start_munge()


@pytest.mark.parametrize("away", [controller_away, munge_away])
async def test_an_outage_changes_no_row_and_submits_nothing_twice(
    dispatcher: Dispatcher, commands: Commands, slurm: Slurm, away: object
) -> None:
    ledger = dispatcher.ledger
    running, cancelled = await dispatcher.submit([request(), request()])
    before = await refreshed_until(dispatcher, running.token, is_in("running"))
    with away(slurm):  # type: ignore[operator]  # one of the two above
        # Each takes seconds to fail.
        cancel = asyncio.ensure_future(dispatcher.cancel([cancelled.token], "alice"))
        doubtful, untried = await dispatcher.submit([request(), request()])
        failures = await asyncio.gather(cancel, dispatcher.refresh(), dispatcher.settle(), return_exceptions=True)
        assert [type(failure) for failure in failures] == [QueueUnreachable] * 3
        assert ledger.job(running.token) == before
        assert (doubtful.state, untried.state) == (SUBMITTING, REFUSED)
    settled = await dispatcher.settle()
    assert [row.token for row in settled.lost] == [doubtful.token]
    assert [row.token for row in settled.reaped] == [cancelled.token]
    cancelled = await refreshed_until(dispatcher, cancelled.token, is_in("finished"))
    assert (cancelled.cause, cancelled.cancelled_by) == ("cancelled", "alice")
    assert names_of(slurm) == [running.scheduler_name]


async def test_a_scheduler_that_answers_slowly_is_waited_for_or_unknown_but_never_gone(
    commands: Commands, ledger: Ledger, slurm: Slurm
) -> None:
    impatient = SlurmQueue(commands.folder, functools.partial(run_command, timeout_s=0.5))
    dispatcher = dispatcher_at(commands.folder, ledger, user_queue=UserQueue(impatient, myself()))
    dispatcher.monitor.queue = impatient
    commands.fail("sleep 1")
    (row,) = await dispatcher.submit([request()])
    assert row.state == "queued"
    with pytest.raises(QueueUnreachable, match="did not answer within"):
        await dispatcher.refresh()
    assert ledger.job(row.token) == row
    commands.heal()
    assert [one.token for one in await dispatcher.refresh()] == [row.token]


async def test_a_submission_that_takes_too_long_is_settled_later(
    commands: Commands, ledger: Ledger, slurm: Slurm, tmp_path: Path
) -> None:
    text = Path(launcher.__file__).read_text().replace("COMMAND_WITHIN_S = 60", "COMMAND_WITHIN_S = 1")
    (tmp_path / "launcher.py").write_text(text)
    command = (sys.executable, "-I", str(tmp_path / "launcher.py"))
    user_queue = UserQueue(SlurmQueue(commands.folder, run_command), myself(), command)
    commands.fail('"$real" "$@"; sleep 30', "sbatch")
    (row,) = await dispatcher_at(commands.folder, ledger, user_queue=user_queue).submit([request()])
    assert (row.state, "did not answer within" in row.reason) == (SUBMITTING, True)
    (adopted,) = (await dispatcher_at(commands.folder, ledger).settle()).adopted
    assert adopted.token == row.token
    assert names_of(slurm) == [row.scheduler_name]


GARBAGE = [
    "head -c 3000 /dev/urandom; exit 0",
    "head -c 3000 /dev/urandom >&2; exit 153",
    "echo '12|RUNNING|'; exit 0",
    "exit 153",
    "exit 0",
]


@pytest.mark.parametrize("fault", GARBAGE)
async def test_garbage_is_no_answer_about_any_job(
    dispatcher: Dispatcher, commands: Commands, slurm: Slurm, fault: str
) -> None:
    (known,) = await dispatcher.submit([request()])
    commands.fail(fault)
    (row,) = await dispatcher.submit([request()])
    assert row.state in (SUBMITTING, REFUSED)
    for ask in (dispatcher.refresh, dispatcher.settle):
        with pytest.raises(QueueUnreachable):
            await ask()
    assert dispatcher.ledger.job(known.token) == known
    commands.heal()
    assert [one.token for one in (await dispatcher.settle()).lost] in ([row.token], [])
    assert names_of(slurm) == [known.scheduler_name]


# --- our own process dies -------------------------------------------------------------------------------------------


def crash(point: str, place: Path, commands: Commands, *, count: int = 3, before: tuple[str, ...] = ()) -> str:
    """Run the program that dies at `point`; return what it printed."""
    command = [*before, sys.executable, "-m", "tests.queues.crashing", point, str(place), str(commands.folder)]
    done = subprocess.run([*command, str(count)], capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def rows_of(place: Path) -> list[JobRecord]:
    with Ledger.open(place) as ledger:
        return ledger.jobs()[::-1]


@pytest.mark.parametrize(
    ("point", "rows", "jobs"),
    [
        ("killed before the rows", 0, 0),
        ("killed after the rows", 3, 0),
        ("killed during the submission", 3, 3),
        ("killed after the submission", 3, 3),
    ],
)
async def test_a_hub_that_is_killed_leaves_no_orphan(
    commands: Commands, ledger: Ledger, slurm: Slurm, tmp_path: Path, point: str, rows: int, jobs: int
) -> None:
    if point == "killed during the submission":
        # The second of three: the launcher lives on, and nobody reads its answer.
        commands.fail('echo >>$0.n; [ $(wc -l <$0.n) -eq 2 ] && kill -9 $(cat "${0%/*}/pid")', "sbatch")
    assert crash(point, tmp_path / "ledger.sqlite", commands) == ""
    commands.heal()
    await _no_launcher_of(commands)
    assert [row.state for row in ledger.jobs()] == [SUBMITTING] * rows
    settled = await dispatcher_at(commands.folder, ledger).settle()
    assert (len(settled.adopted), len(settled.lost)) == (jobs, rows - jobs)
    assert names_of(slurm) == sorted(row.scheduler_name for row in settled.adopted)
    assert {job.id for job in slurm.jobs()} == {row.job_id for row in settled.adopted}
    dispatcher = dispatcher_at(commands.folder, ledger)
    await dispatcher.cancel([row.token for row in settled.adopted], "alice")
    for row in settled.adopted:
        await refreshed_until(dispatcher, row.token, is_in("finished"))


async def _no_launcher_of(commands: Commands) -> None:
    """Wait until what a killed process has started is through."""
    marker = f"SPRINGTIDE_COMMANDS={commands.folder}"
    for _ in range(100):
        if not any(marker in _environment(pid) for pid in os.listdir("/proc") if pid.isdigit()):
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(marker)


def _environment(pid: str) -> str:
    try:
        return Path("/proc", pid, "environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


# --- the ledger fails -----------------------------------------------------------------------------------------------


@pytest.fixture
def own_disk(tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the place of a ledger on a disk of 2 MB, and what stands before a program that is to see it."""
    require("root's rights, for a disk of its own", os.geteuid() == 0, "run the tests as root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=2m none {disk}; exec "$@"'
    return disk / "ledger.sqlite", ("unshare", "--mount", "sh", "-ec", mount, "sh")


@pytest.mark.parametrize("point", ["full before the rows", "read-only before the rows"])
def test_a_ledger_that_cannot_be_written_lets_nothing_be_submitted(
    commands: Commands, slurm: Slurm, own_disk: tuple[Path, tuple[str, ...]], point: str
) -> None:
    place, before = own_disk
    assert ("is full" if "full" in point else "cannot be") in crash(point, place, commands, before=before)
    assert names_of(slurm) == []


@pytest.mark.parametrize("point", ["full after the submission", "read-only after the submission"])
def test_ids_that_cannot_be_written_are_found_by_name_later(
    commands: Commands, slurm: Slurm, own_disk: tuple[Path, tuple[str, ...]], point: str
) -> None:
    place, before = own_disk
    shown, written, adopted = crash(point, place, commands, before=before, count=2).splitlines()
    assert (shown, written) == ("queued queued", f"{SUBMITTING} {SUBMITTING}")
    assert sorted(adopted.split()) == sorted(job.id for job in slurm.jobs())


# --- others act on the jobs -----------------------------------------------------------------------------------------


async def test_jobs_that_are_deleted_requeued_or_lose_their_node_are_what_they_are(
    dispatcher: Dispatcher, slurm: Slurm
) -> None:
    on_first = request(directives=(f"--nodelist={NODES[0]}",))
    on_last = request(directives=(f"--nodelist={NODES[1]}",))
    again = request(rerunnable=True, directives=(f"--nodelist={NODES[0]}",))
    rows = await dispatcher.submit([on_first, on_last, again])
    for row in rows:
        await refreshed_until(dispatcher, row.token, is_in("running"))
    deleted, failed, requeued = rows
    slurm.run(["scancel", deleted.job_id])
    slurm.requeue(requeued.job_id)
    slurm.fail_node(NODES[1])
    try:
        deleted = await refreshed_until(dispatcher, deleted.token, is_in("finished"))
        failed = await refreshed_until(dispatcher, failed.token, is_in("finished"))
        requeued = await refreshed_until(dispatcher, requeued.token, is_in("queued", "waiting", "held"))
    finally:
        slurm.restore_node(NODES[1])
    assert (deleted.cause, deleted.cancelled_by) == ("cancelled", "")
    assert failed.cause == "lost"
    assert requeued.cause == "requeued"
    assert "requeued" in [event.kind for event in dispatcher.ledger.events(requeued.token)]


async def test_a_job_requeued_after_its_end_is_open_again(dispatcher: Dispatcher, slurm: Slurm) -> None:
    (row,) = await dispatcher.submit([request("exit 1", rerunnable=True)])
    row = await refreshed_until(dispatcher, row.token, is_in("finished"))
    slurm.requeue(row.job_id)
    again = await refreshed_until(dispatcher, row.token, lambda row: not row.over)
    assert (again.exit_status, again.ended) == (None, None)


# --- a long history -------------------------------------------------------------------------------------------------


async def test_ten_thousand_finished_jobs_hide_none_that_lives(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_slurm(remembers_s=3600) as slurm:
        monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
        slurm.fill_history(10_000)
        commands = Commands(tmp_path / "bin", slurm.commands)
        dispatcher = dispatcher_at(commands.folder, ledger)
        alive, ends = await dispatcher.submit([request(), request("exit 3")])
        commands.fail('"$real" "$@" >/dev/null; kill -9 $$', "sbatch")
        (doubtful,) = await dispatcher.submit([request()])
        commands.heal()
        assert [row.token for row in (await dispatcher.settle()).adopted] == [doubtful.token]
        ended = await refreshed_until(dispatcher, ends.token, is_in("finished"))
        assert (ended.exit_status, ended.cause) == (3, "exit")
        for row in (alive, doubtful):
            await refreshed_until(dispatcher, row.token, is_in("running"))
        snapshot = await dispatcher.monitor.queue.snapshot()
        assert len(snapshot) == 10_003
        assert sum(job.state.alive for job in snapshot.values()) == 2


# --- clocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns"])
async def test_the_time_zone_of_the_hub_plays_no_part(
    dispatcher: Dispatcher, slurm: Slurm, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        (row,) = await dispatcher.submit([request("true")])
        row = await refreshed_until(dispatcher, row.token, is_in("finished"))
    finally:
        monkeypatch.undo()
        time.tzset()
    for moment in (row.submitted, row.started, row.ended):
        assert moment is not None
        assert abs(moment - time.time()) < 60


@pytest.mark.parametrize("shift_s", [-86400.0, 86400.0])
async def test_a_clock_that_jumps_makes_no_living_job_dead(
    commands: Commands, ledger: Ledger, slurm: Slurm, monkeypatch: pytest.MonkeyPatch, shift_s: float
) -> None:
    dispatcher = dispatcher_at(commands.folder, ledger, grace_s=300)
    (alive,) = await dispatcher.submit([request()])
    commands.fail('"$real" "$@" >/dev/null; kill -9 $$', "sbatch")
    (doubtful,) = await dispatcher.submit([request()])
    commands.heal()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + shift_s)
    settled = await dispatcher.settle()
    assert [row.token for row in settled.adopted] == [doubtful.token]
    rows = await dispatcher.refresh()
    assert {row.token for row in rows} == {alive.token, doubtful.token}
    assert all(row.state in ("queued", "running") for row in rows)

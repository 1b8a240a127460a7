"""``springtide logs``: what a job wrote."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import click

from springtide.cli.jobs import Named, find_job, refreshed, wait_until_over
from springtide.cli.sites import OpenSite, Options, language, open_site, site_options
from springtide.cli.tables import print_json, print_json_line
from springtide.errors import QueueError, QueueUnreachable, SpringtideError
from springtide.ledger.store import Ledger
from springtide.queues.model import JobState
from springtide.texts import translator

_LOOK_S = 0.3
_PIECE_BYTES = 2**20
# A file on a network file system may grow for a moment after its job is over.
_QUIET_LOOKS_AT_END = 3
_NOWHERE = "/dev/null"
_NOT_STARTED = frozenset((*(state.value for state in JobState if state.waits), "unknown"))


@click.command()
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is written until the job is over.")
@click.option("--errors", is_flag=True, help="Show its standard error, where that has a file of its own.")
@click.option("--json", "as_json", is_flag=True, help="Print the job and its text as JSON; with -f an object a line.")
@site_options
def logs(options: Options, job: str, follow: bool, errors: bool, as_json: bool) -> None:
    """Show what JOB wrote: an id of the scheduler or a token of the ledger; 12[3] is one job of an array.

    Exit status: 0, or 1 where there is nothing to show.
    """
    with options.ledger() as ledger:
        try:
            asyncio.run(_logs(options, ledger, job, follow, errors, as_json))
        except KeyboardInterrupt:
            if not follow:
                raise


async def _logs(options: Options, ledger: Ledger, name: str, follow: bool, errors: bool, as_json: bool) -> None:
    named, _ = await find_job(options, ledger, name)
    path = _file_of(named, errors)
    if follow:
        async for text in _followed(options, ledger, named, path):
            _print(text, as_json)
        if as_json:
            print_json_line({"job": (await _newest(ledger, named)).view().as_json()})
    elif path.exists():
        _print_whole(named, path, as_json)
    else:
        await _complain(options, ledger, named, path)
    if not errors and not as_json and named.record:
        _mention_errors(named)


def _file_of(named: Named, errors: bool) -> Path:
    """Return the file that the job, or the one of the array that is meant, writes to.

    Raises
    ------
    QueueError
        If it is not known, or there is none.
    """
    if named.record is None:
        raise QueueError(
            f"The job {named.id} was not submitted with springtide, so the file of its output is not known.",
            "Look in the folder it was submitted from, or ask the scheduler: qstat -f, scontrol show job.",
        )
    row = named.record
    path = (row.errors or row.output) if errors else row.output
    if path in ("", _NOWHERE):
        raise QueueError(f"The output of job {named.id or row.token} was not kept.", "It was submitted that way.")
    if row.array_size and not named.index:
        written = sorted(Path(path).parent.glob(f"{Path(path).name}.*")) if Path(path).parent.is_dir() else []
        known = ", ".join(file.suffix.removeprefix(".") for file in written[:20]) or "none yet"
        raise QueueError(
            f"The job {row.job_id} is an array of {row.array_size} jobs, each with a file of its own.",
            f"Name one by its index, e.g. “{row.job_id.partition('[')[0]}[1]”; files are there of: {known}.",
        )
    return Path(f"{path}.{named.index}" if named.index else path)


def _print(text: str, as_json: bool) -> None:
    if as_json:
        print_json_line({"text": text})
    else:
        click.echo(text, nl=False)
        sys.stdout.flush()


def _print_whole(named: Named, path: Path, as_json: bool) -> None:
    if as_json:
        text = path.read_text(encoding="utf-8", errors="replace")
        print_json({"job": named.view().as_json(), "file": str(path), "text": text})
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            click.echo(decoder.decode(piece), nl=False)
    click.echo(decoder.decode(b"", final=True), nl=False)


async def _complain(options: Options, ledger: Ledger, named: Named, path: Path) -> None:
    """Say why there is nothing to show.

    Raises
    ------
    QueueError
        Always.
    """
    text = translator(language())
    if named.record and not named.record.over:
        await refreshed(await open_site(options, ledger, named.site))
    view = (await _newest(ledger, named)).view()
    job = named.id or view.token
    if view.state in _NOT_STARTED:
        raise QueueError(text("cli.not_started", job=job, state=text(f"cli.state_{view.state}")))
    raise QueueError(text("cli.nothing_written", job=job, file=path))


async def _newest(ledger: Ledger, named: Named) -> Named:
    row = await asyncio.to_thread(ledger.job, named.record.token) if named.record else None
    return replace(named, record=row or named.record)


async def _followed(options: Options, ledger: Ledger, named: Named, path: Path) -> AsyncIterator[str]:
    """Yield what the job writes, until it is over and all is read."""
    over = asyncio.Event()
    watcher = asyncio.create_task(_watch(options, ledger, named, over))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    place, quiet = 0, 0
    try:
        while quiet < _QUIET_LOOKS_AT_END:
            was_over = over.is_set()
            piece, place = await asyncio.to_thread(_read_on, path, place)
            if text := decoder.decode(piece):
                yield text
            quiet = quiet + 1 if was_over and not piece else 0
            if not piece:
                await asyncio.sleep(_LOOK_S if not was_over else _LOOK_S / _QUIET_LOOKS_AT_END)
            if watcher.done() and watcher.exception():
                await watcher
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
    if rest := decoder.decode(b"", final=True):
        yield rest


def _read_on(path: Path, place: int) -> tuple[bytes, int]:
    """Return what stands behind `place`, and the place behind it; a job that starts again begins its file anew."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < place:
                place = 0
            file.seek(place)
            piece = file.read(_PIECE_BYTES)
    except FileNotFoundError:
        return b"", place
    except OSError as error:
        raise SpringtideError(f"{path} cannot be read: {error.strerror}.") from error
    return piece, place + len(piece)


async def _watch(options: Options, ledger: Ledger, named: Named, over: asyncio.Event) -> None:
    """Set `over` once the job is known to have ended; what the scheduler knows then is in the ledger."""
    row = named.record
    if row is None or (row.over and not named.index):
        over.set()
        return
    site = await open_site(options, ledger, named.site)
    if named.index:
        await _watch_one_of_array(site, named)
    else:
        await wait_until_over(site, row)
    over.set()


async def _watch_one_of_array(site: OpenSite, named: Named) -> None:
    assert named.record is not None  # who has an index has a row
    while True:
        with contextlib.suppress(QueueUnreachable):
            job = (await site.queue.details([named.record.job_id])).get(named.id)
            if job is not None and not job.state.alive:
                return
        await asyncio.sleep(site.monitor.interval_s)


def _mention_errors(named: Named) -> None:
    """Say where the errors are, if they have a file of their own and something is in it."""
    assert named.record is not None  # the caller has looked
    suffix = f".{named.index}" if named.index else ""
    path = Path(f"{named.record.errors}{suffix}") if named.record.errors else None
    if path and path.is_file() and path.stat().st_size:
        job = named.id or named.record.token
        click.echo(translator(language())("cli.errors_apart", file=path, job=job), err=True)

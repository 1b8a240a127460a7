"""``springtide submit``: an ordinary batch script, run at any site."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from springtide.cli.forecast import Foreseen, foresee, in_words
from springtide.cli.jobs import Facts, Named, explained, record_of, wait_until_over
from springtide.cli.sites import OpenSite, Options, language, open_site, site_options
from springtide.cli.tables import print_json
from springtide.errors import LedgerError, QueueUnreachable, ScriptError, SubmitRefused
from springtide.ledger.records import REFUSED, SUBMITTING, JobRecord
from springtide.ledger.store import Ledger
from springtide.queues.bookkeeping import check_name, name_limit, scheduler_name_of
from springtide.queues.feasible import problems_with
from springtide.queues.model import After, Dependency, JobRequest, JobState
from springtide.queues.monitor import SiteFacts
from springtide.queues.pbs.header import own_parts
from springtide.queues.scripts.read import BatchScript, read_script
from springtide.queues.scripts.translate import Target
from springtide.queues.scripts.values import MOST_CORES, MOST_NODES, read_array
from springtide.texts import translator
from springtide.units import parse_memory, parse_walltime

_FAILED_WITHOUT_STATUS = 1
_PARTS = ("cores", "nodes", "memory")
_SHOWN_TOKEN = "xxxxxxxx"
_RESOURCE = re.compile(r"-l\s+(\w+)=")


@dataclass(frozen=True)
class Wish:
    """What the command line says about the job."""

    folder: Path
    chosen_folder: bool
    overrides: Mapping[str, Any]
    after: Sequence[str]


def _number(most: int) -> Any:
    return click.IntRange(1, most)


@click.command()
@click.argument("script", type=click.Path(path_type=Path))
@click.option("--name", default=None, help="Name of the job.")
@click.option("--cores", type=_number(MOST_CORES), default=None, help="Cores on each node.")
@click.option("--nodes", type=_number(MOST_NODES), default=None, help="Nodes.")
@click.option("--memory", default=None, help="Memory on each node: 512M, 4G.")
@click.option("--walltime", default=None, help="Longest duration: 90m, 2h, 01:30:00.")
@click.option("--queue", default=None, help="Queue, or partition.")
@click.option("--account", default=None, help="Account or project charged.")
@click.option("--array", default=None, help="Run it once for each index: 1-100, 0-20:2, 1-100%5 (five at a time).")
@click.option("--after", multiple=True, help="Follow other jobs: ok:JOB,JOB… or failure:, any:, start:.")
@click.option("--folder", type=click.Path(path_type=Path), default=None, help="Where the job starts.")
@click.option("--dry-run", is_flag=True, help="Print what would be submitted, and submit nothing.")
@click.option("--wait", is_flag=True, help="Wait for the end, and end with the job's exit status.")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON.")
@site_options
def submit(
    options: Options,
    script: Path,
    folder: Path | None,
    after: Sequence[str],
    dry_run: bool,
    wait: bool,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Submit SCRIPT, with the #PBS or #SBATCH lines it has; - is standard input. Print the job's id.

    Its lines are read as its own scheduler reads them and translated for the site; options given here win. A job that
    could never run is refused before it is submitted. A #PBS script starts in the home folder, as under PBS, others
    where they are submitted, all of them in --folder if that is given.
    """
    wish = Wish((folder or Path()).absolute(), folder is not None, _overrides(wishes), after)
    batch_script = read_script(script)
    with options.ledger() as ledger:
        status = asyncio.run(_submit(options, ledger, batch_script, wish, dry_run, wait, as_json))
    sys.exit(status)


def _overrides(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as fields of `JobRequest`.

    Raises
    ------
    ScriptError
        If one of them cannot be read; it is named.
    """
    fields: dict[str, Any] = {}
    for option, value in wishes.items():
        if value is None:
            continue
        name, read = _READERS[option]
        try:
            fields[name] = read(value)
        except ValueError as error:
            raise ScriptError(f"--{option} is “{value}”.", f"Write {error}.") from None
    if fields.get("cores"):
        # Of the script's processes on each node nothing is known any more.
        fields["ranks"] = 0
    if "name" in fields:
        check_name(fields["name"])
    return fields


_READERS: dict[str, tuple[str, Any]] = {
    "name": ("name", str),
    "cores": ("cores", int),
    "nodes": ("nodes", int),
    "memory": ("memory_bytes", parse_memory),
    "walltime": ("walltime_s", parse_walltime),
    "queue": ("queue", str),
    "account": ("account", str),
    "array": ("array", read_array),
}


async def _submit(
    options: Options, ledger: Ledger, script: BatchScript, wish: Wish, dry_run: bool, wait: bool, as_json: bool
) -> int:
    site = await open_site(options, ledger)
    if not wish.folder.is_dir():
        raise ScriptError(f"There is no folder {wish.folder}.", "Make it, or name another with --folder.")
    facts = await site.monitor.site()
    target = Target(
        dialect=site.queue.dialect,
        folder=wish.folder,
        chosen_folder=wish.chosen_folder,
        user=site.account.name,
        node_cores=max((node.cores for node in facts.nodes if node.usable), default=0),
        queues=frozenset(limits.name for limits in facts.queues),
        environment=os.environ,
        stamp=f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}",
    )
    overrides = dict(wish.overrides)
    if wish.after:
        overrides["dependencies"] = await asyncio.to_thread(_dependencies, ledger, site.name, wish.after)
    translation = script.translate(target, **overrides)
    request = translation.request
    _check(request, site, facts)
    _check_parts(request, overrides)
    for note in translation.notes:
        click.echo(translator(language())("cli.note", text=note), err=True)
    foreseen = await foresee(site, request, facts)
    for line in in_words(foreseen, request, translator(language())):
        click.echo(line, err=True)
    if dry_run:
        name = scheduler_name_of(request.name, _SHOWN_TOKEN, name_limit(site.queue.dialect))
        click.echo(site.queue.script(replace(request, name=name)), nl=False)
        return 0
    (row,) = await site.dispatcher.submit([request], folder=str(wish.folder))
    await asyncio.to_thread(_remember, ledger, row, foreseen)
    return await _report(site, row, wait, as_json)


def _remember(ledger: Ledger, row: JobRecord, foreseen: Foreseen) -> None:
    """Write down what was expected, which the truth is measured by later; the job matters more."""
    if row.job_id and foreseen.estimate:
        with contextlib.suppress(LedgerError):
            ledger.update_job(row.token, **foreseen.as_times)


def _check(request: JobRequest, site: OpenSite, facts: SiteFacts) -> None:
    """Refuse what can never run, and directives that the site's own would overrule.

    Raises
    ------
    SubmitRefused
        With all that stands against it.
    ScriptError
        If the scheduler would not heed a line of the script.
    """
    if problems := problems_with(request, facts.nodes, facts.queues, language()):
        text = translator(language())
        raise SubmitRefused("\n".join([text("cli.never_runs"), *(f"- {problem}" for problem in problems)]))
    if line := overruled(site.queue.header(request), request.directives):
        raise ScriptError(
            f"“{line}” cannot be passed on as it is: PBS heeds the first of two such lines only.",
            "Ask for it with an option: --cores, --nodes, --memory, --walltime.",
        )


def _check_parts(request: JobRequest, overrides: Mapping[str, Any]) -> None:
    """Refuse options that mean other parts of nodes than a line of the script that is passed on as it is.

    Raises
    ------
    ScriptError
        With the option and the line.
    """
    option = next((option for option, (field, _) in _READERS.items() if field in overrides and option in _PARTS), "")
    if option and (own := own_parts(request)):
        line = next(line for line in request.directives if f"{own}=" in line)
        raise ScriptError(
            f"--{option} and “{line}” of the script contradict each other: it is passed on as it stands.",
            "Leave one of both out.",
        )


def overruled(header: Sequence[str], directives: Sequence[str]) -> str:
    """Return a directive of the script that PBS would not heed, as it heeds the first ``-l NAME=`` only; else ""."""
    said = {match[1] for line in header for match in _RESOURCE.finditer(line)}
    return next((line for line in directives if any(match[1] in said for match in _RESOURCE.finditer(line))), "")


def _dependencies(ledger: Ledger, site: str, after: Sequence[str]) -> tuple[Dependency, ...]:
    """Return the jobs to follow, given as ``ok:JOB,JOB`` with ids or tokens.

    Raises
    ------
    ScriptError
        If one cannot be read or is at another site.
    """
    found = []
    for text in after:
        when, colon, names = text.partition(":")
        if not colon or when not in {kind.value for kind in After} or not all(names.split(",")):
            raise ScriptError(f"--after is “{text}”.", "Write ok:JOB, failure:JOB, any:JOB or start:JOB.")
        found.append(Dependency(After(when), tuple(_id_of(ledger, site, name) for name in names.split(","))))
    return tuple(found)


def _id_of(ledger: Ledger, site: str, name: str) -> str:
    named = record_of(ledger, name)
    if named is None:
        if not name[:1].isdigit():
            raise ScriptError(f"--after: there is no job “{name}”.", "springtide status lists your jobs.")
        return name
    if named.site != site:
        raise ScriptError(f"--after: the job “{name}” is at {named.site}; this one goes to {site}.", "Use one site.")
    if not named.id:
        raise ScriptError(f"--after: the job “{name}” has no id: it was refused, or nobody knows yet.")
    return named.id


async def _report(site: OpenSite, row: JobRecord, wait: bool, as_json: bool) -> int:
    """Print the job, after its end where that is waited for; return the command's exit status.

    Raises
    ------
    SubmitRefused
        If the scheduler did not take it.
    QueueUnreachable
        If nobody knows whether it did.
    """
    if row.state == REFUSED:
        raise SubmitRefused(row.reason or "The scheduler refused the job.")
    if row.state == SUBMITTING and not wait:
        raise QueueUnreachable(
            f"It is not known whether the job reached the queue: {row.reason}",
            f"It is found out by itself; do not submit it again. Look with: springtide status {row.token}",
        )
    text = translator(language())
    if not as_json:
        click.echo(row.job_id or row.token)
        click.echo(text("cli.output_in", output=row.output), err=True)
    if wait:
        row = await wait_until_over(site, row, _say)
    view = explained(Named(site.name, row).view(), Named(site.name, row).info if wait else None, Facts(), language())
    if as_json:
        print_json(view.as_json())
    elif wait:
        click.echo(view.explanation, err=True)
    return _exit_status(row) if wait else 0


def _say(state: JobState | None, outage: str) -> None:
    text = translator(language())
    if outage:
        click.echo(text("cli.outage_goes_on", words=outage), err=True)
    elif state:
        click.echo(text(f"cli.state_{state.value}"), err=True)


def _exit_status(row: JobRecord) -> int:
    """Return the job's own exit status; 1 where it ended without one, or was ended."""
    if row.exit_status is None or not 0 <= row.exit_status <= 255:
        return _FAILED_WITHOUT_STATUS
    return row.exit_status or int(row.cause not in ("", "exit"))

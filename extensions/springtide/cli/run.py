"""``springtide run`` and ``springtide again``: applications, with the options that each declares."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from springtide.cli.follow import follow
from springtide.cli.jobs import record_of
from springtide.cli.schedules import shown_in_zone
from springtide.cli.sites import Options, language
from springtide.cli.tables import print_json
from springtide.errors import JobError, ParameterError
from springtide.jobs.applications.describe import describe
from springtide.jobs.applications.load import Offer
from springtide.jobs.applications.parameters import BooleanParameter
from springtide.jobs.asked import Asked
from springtide.jobs.cron import local_zone
from springtide.jobs.desk import Desk
from springtide.jobs.folder import log_file
from springtide.jobs.looking import Look
from springtide.jobs.opening import own_desk
from springtide.jobs.schedules import MISSED, Repeat, schedule_as_json
from springtide.jobs.spec import Follow, JobSpec
from springtide.ledger.records import RunRecord
from springtide.ledger.store import Ledger
from springtide.texts import translator

_RAW = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
_AFTER = {"after": "ok", "after_failure": "failure", "after_any": "any"}
_PREFIX = "parameter_"
_HELP = ("-h", "--help")


@click.command(context_settings=_RAW)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="APPLICATION [OPTIONS]")
@click.pass_context
def run(context: click.Context, words: Sequence[str]) -> None:
    """Submit APPLICATION with its parameters as options. Print the job's token.

    springtide apps lists the applications; springtide run APPLICATION --help lists its options, with their limits.
    """
    name = _first(context, words)
    lab = _lab_of(words)
    with lab.ledger() as ledger:
        offer = own_desk(lab.lab, ledger).offer(name)
    _command(f"springtide run {name}", offer, lambda given, asked, desk: desk.submit(offer.full_name, given, asked))(
        words[1:]
    )


@click.command(context_settings=_RAW)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="JOB [OPTIONS]")
@click.pass_context
def again(context: click.Context, words: Sequence[str]) -> None:
    """Submit JOB again, with the same seeds and inputs. Options change its parameters and how it runs."""
    name = _first(context, words)
    lab = _lab_of(words)
    with lab.ledger() as ledger:
        desk = own_desk(lab.lab, ledger)
        before = asyncio.run(desk.run(token_of(ledger, name)))
        offer = desk.offer(before.application)

    _command(
        f"springtide again {name}",
        offer,
        lambda given, asked, desk: desk.submit_again(before, given, asked),
        again=True,
    )(words[1:])


def _first(context: click.Context, words: Sequence[str]) -> str:
    if not words or words[0] in _HELP:
        click.echo(context.get_help())
        sys.exit(0 if words else 2)
    if words[0].startswith("-"):
        raise JobError(
            f"{words[0]} stands where a name should.", f"Write the name first: {context.command_path} NAME …"
        )
    return words[0]


def _lab_of(words: Sequence[str]) -> Options:
    """Return where the lab and the ledger are: known before the options that depend on them."""
    found: dict[str, str] = {}
    for name in ("lab", "state", "ledger"):
        for number, word in enumerate(words):
            if word.startswith(f"--{name}="):
                found[name] = word.partition("=")[2]
            elif word == f"--{name}" and number + 1 < len(words):
                found[name] = words[number + 1]
    lab, state = (Path(found[name]) if name in found else None for name in ("lab", "state"))
    return Options(lab, state, found.get("ledger", ""), "")


Submit = Callable[[Mapping[str, Any], Asked, Desk], Awaitable[RunRecord]]


def _command(program: str, offer: Offer, submit: Submit, *, again: bool = False) -> Callable[[Sequence[str]], None]:
    """Return the command line of an application: its parameters as options, then those that all have."""

    def callback(**values: Any) -> None:
        lab = Options(values.pop("lab"), values.pop("state"), values.pop("ledger"), "")
        wait, as_json = values.pop("wait"), values.pop("as_json")
        repeat = Repeat(*(values.pop(name) for name in ("cron", "zone", "missed", "overlap")))
        if repeat.cron and (wait or again):
            raise JobError("--cron goes with springtide run alone, without --wait.", "Leave one of them out.")
        with lab.ledger() as ledger:
            work = _schedule(lab, ledger, offer, values, repeat, as_json) if repeat.cron else None
            status = asyncio.run(work or _submit(lab, ledger, values, submit, wait, as_json))
        sys.exit(status)

    command = click.Command(
        offer.name,
        params=[*_parameters(offer), *_common(offer)],
        callback=callback,
        help=offer.application.help.in_language(language()) if offer.application.help else None,
        context_settings={"help_option_names": list(_HELP), "max_content_width": 120},
    )
    return lambda words: command.main(list(words), prog_name=program)


def _parameters(offer: Offer) -> list[click.Parameter]:
    found: list[click.Parameter] = []
    for name, parameter in offer.application.parameters.items():
        option, words = name.replace("_", "-"), describe(parameter, language())
        if isinstance(parameter, BooleanParameter):
            found.append(click.Option([f"--{option}/--no-{option}", f"{_PREFIX}{name}"], default=None, help=words))
        else:
            found.append(click.Option([f"--{option}", f"{_PREFIX}{name}"], help=words, metavar=parameter.kind.upper()))
    return found


def _common(offer: Offer) -> list[click.Parameter]:
    needed = offer.application.resources
    path = click.Path(path_type=Path)
    options: tuple[tuple[list[str], dict[str, Any]], ...] = (
        (
            ["--sweep"],
            {"multiple": True, "help": "Run once for each value: seed=1..8, dt=0.5,1,2, oms=1..10:5 (five)."},
        ),
        (["--site"], {"default": "", "help": "Where it runs [default: where it should start first]."}),
        (["--cores"], {"help": f"Cores on each node [default: {needed.cores.default}]."}),
        (["--memory"], {"help": "Memory on each node: 512M, 4G."}),
        (["--walltime"], {"help": "Longest duration: 90m, 2h, 01:30:00."}),
        (["--name"], {"default": "", "help": "Name of the job."}),
        (["--after"], {"multiple": True, "metavar": "JOB", "help": "Start once JOB succeeded."}),
        (["--after-failure"], {"multiple": True, "metavar": "JOB", "help": "Start once JOB failed."}),
        (["--after-any"], {"multiple": True, "metavar": "JOB", "help": "Start once JOB ended."}),
        (
            ["--cron"],
            {"default": "", "help": "Run again and again: minute, hour, day of the month, month, day of the week."},
        ),
        (["--zone"], {"default": "", "help": f"Time zone of --cron [default: {local_zone()}]."}),
        (
            ["--missed"],
            {
                "default": "once",
                "type": click.Choice(MISSED),
                "help": "What becomes of times of --cron that were missed [default: once].",
            },
        ),
        (["--overlap"], {"is_flag": True, "help": "Run of --cron even while the run before still goes on."}),
        (["--wait"], {"is_flag": True, "help": "Wait for the end, and end with the job's exit status."}),
        (["--json", "as_json"], {"is_flag": True, "help": "Print the job as JSON."}),
        (["--ledger"], {"default": "", "help": "Ledger: a file or a database's URL."}),
        (["--state"], {"type": path, "help": "State directory, where the ledger lies."}),
        (["--lab"], {"type": path, "help": "Lab file [default: the one shipped]."}),
    )
    return [click.Option(names, **rest) for names, rest in options]


async def _submit(
    lab: Options, ledger: Ledger, values: dict[str, Any], submit: Submit, wait: bool, as_json: bool
) -> int:
    text = translator(language())
    desk = _desk(lab, ledger)
    with _options_named():
        run = await submit(_given(values), _asked(ledger, values), desk)
    spec = JobSpec.from_json(run.spec)
    if not as_json:
        click.echo(run.token)
        for line in filter(None, (spec.reason, text("jobs.folder_is", folder=run.folder))):
            click.echo(line, err=True)
    (look,) = [await follow(desk, run)] if wait else await desk.look([run], fresh=False)
    if as_json:
        print_json(look.as_json())
    elif wait:
        click.echo(look.view.explanation, err=True)
        _show_end(look)
    return _exit_status(look) if wait else 0


async def _schedule(
    lab: Options, ledger: Ledger, offer: Offer, values: dict[str, Any], repeat: Repeat, as_json: bool
) -> int:
    text = translator(language())
    with _options_named():
        record = await _desk(lab, ledger).schedule(offer.full_name, _given(values), _asked(ledger, values), repeat)
    if as_json:
        print_json(schedule_as_json(record))
    else:
        click.echo(record.token)
        click.echo(text("schedules.made", due=shown_in_zone(record.due, record.zone), zone=record.zone), err=True)
    return 0


def _desk(lab: Options, ledger: Ledger) -> Desk:
    return own_desk(
        lab.lab, ledger, state=lab.state_path, language=language(), say=lambda words: click.echo(words, err=True)
    )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    prefixed = (name for name in values if name.startswith(_PREFIX))
    return {name.removeprefix(_PREFIX): values[name] for name in prefixed if values[name] is not None}


@contextmanager
def _options_named() -> Iterator[None]:
    """Name the option, where a parameter is wrong."""
    try:
        yield
    except ParameterError as error:
        raise JobError(f"--{error.field.replace('_', '-')}: {error.message}", error.hint) from None


def _asked(ledger: Ledger, values: Mapping[str, Any]) -> Asked:
    sweep: dict[str, str] = {}
    for text in values["sweep"]:
        name, equals, several = text.partition("=")
        name = name.replace("-", "_")
        if not equals or name in sweep:
            raise ParameterError("sweep", f"“{text[:60]}” is no sweep, or one more of the same.", "Write seed=1..8.")
        sweep[name] = several
    after = [Follow(when, token_of(ledger, job)) for name, when in _AFTER.items() for job in values[name]]
    plain = {name: values[name] for name in ("site", "cores", "memory", "walltime", "name") if values[name] is not None}
    return replace(Asked(**plain), sweep=sweep, after=tuple(after), start=Path.cwd())


def token_of(ledger: Ledger, name: str) -> str:
    """Return the token of a job that is named by it, or by its scheduler's id."""
    if ledger.run(name) is None and (found := record_of(ledger, name)) and found.record:
        return found.record.token
    return name


def _show_end(look: Look) -> None:
    """Show what a job that failed wrote last: the reason is mostly there."""
    if look.view.exit_status == 0:
        return
    file = log_file(Path(look.run.folder), 1, look.count)
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]:
            click.echo(f"  {line[:200]}", err=True)


def _exit_status(look: Look) -> int:
    """Return the job's own exit status; 1 where it ended without one, or was ended."""
    status = look.view.exit_status
    if status is None or not 0 <= status <= 255:
        return 1
    return status or int(look.view.cause not in ("", "exit"))

"""``springtide machines``: the virtual machines of one's ledger, what they cost, and the removal of forgotten ones."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from springtide.cli.sites import Options, lab_options, language
from springtide.cli.tables import Column, is_terminal, plain, print_json, print_screen, table
from springtide.clouds.machines import Machines
from springtide.clouds.money import Terms
from springtide.clouds.opening import flavours_of, open_cloud, terms_of
from springtide.clouds.settling import Step
from springtide.environments.catalog import shipped
from springtide.errors import CloudError
from springtide.lab.models import Lab
from springtide.ledger.place import state_directory
from springtide.ledger.records import MachineRecord
from springtide.ledger.store import Ledger
from springtide.queues.views import iso_time
from springtide.texts import translator
from springtide.units import describe_duration

# Of machines that a cluster had made without a lab file: what the cluster allowed is no more known.
_UNKNOWN = Terms(maximum_machines=sys.maxsize, lifetime_s=24 * 3600.0, quantum_s=60.0)


def _column(name: str) -> Column:
    return Column(
        name,
        f"machines.head_{name}",
        lambda row, _: escape(str(getattr(row[0], name))),
        lambda row: str(getattr(row[0], name)),
    )


_COLUMNS = (
    _column("name"),
    _column("site"),
    _column("user"),
    _column("flavour"),
    Column(
        "state",
        "machines.head_state",
        lambda row, text: text(f"machines.state_{row[0].state}"),
        lambda row: row[0].state,
    ),
    Column("since", "machines.head_since", lambda row, _: _since(row[0]), lambda row: iso_time(row[0].recorded) or ""),
    Column("cost", "machines.head_cost", lambda row, _: f"{row[1]:.2f}", lambda row: f"{row[1]:.4f}"),
    _column("reason"),
)


@click.group(invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="Also machines that are gone.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of machines as JSON.")
@lab_options
@click.pass_context
def machines(context: click.Context, options: Options, everything: bool, as_json: bool) -> None:
    """List the virtual machines that were made under this ledger and may still exist, and what each has cost."""
    if context.invoked_subcommand:
        return
    with options.ledger() as ledger:
        lab = options.lab
        found = ledger.machines(open_only=not everything)
        desks = {site: _desk(lab, options, ledger, site) for site in {row.site for row in found}}
        _print([(row, desks[row.site].charge(row)) for row in found], as_json)


@machines.command()
@click.option("--dry-run", is_flag=True, help="Say only what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of what was done as JSON.")
@lab_options
def sweep(options: Options, dry_run: bool, as_json: bool) -> None:
    """Bring the ledger and the clouds together, and end the machines that nobody needs any more.

    Ended are machines that are off, that outlived their time, and that carry this ledger's mark without one of its open
    rows. Machines of others are told and left alone. Where a cloud does not answer nothing is done, and the exit status
    is 1.
    """
    steps: list[tuple[str, Step]] = []
    failed = False
    with options.ledger() as ledger:
        lab = options.lab
        for site in sorted({*lab.clouds, *(row.site for row in ledger.machines(open_only=True))}):
            try:
                _check_known(lab, options, site)
                steps += [(site, step) for step in asyncio.run(_settle(_desk(lab, options, ledger, site), dry_run))]
            except CloudError as error:
                click.echo(f"{site}: {error}", err=True)
                failed = True
    if as_json:
        print_json([{"site": site, **asdict(step), "changes": dict(step.changes)} for site, step in steps])
    else:
        text = translator(language())
        for site, step in steps:
            words = f": {step.words}" if step.words else ""
            click.echo(f"{site}\t{step.name}\t{text(f'machines.step_{step.kind}')}{words}")
    sys.exit(failed)


async def _settle(desk: Machines, dry_run: bool) -> list[Step]:
    try:
        return await desk.settle(dry_run=dry_run)
    finally:
        await desk.cloud.close()


def _check_known(lab: Lab, options: Options, site: str) -> None:
    """Refuse a site of which nobody knows any more what cloud it was: its machines would be taken for gone."""
    if site not in lab.clouds and not (_state(options) / "clouds" / site).is_dir():
        raise CloudError(
            "There are rows of its machines, and the lab file has no such cloud.",
            "Give the site back to the lab file until they have ended.",
        )


def _state(options: Options) -> Path:
    return options.state_path or state_directory(None)


def _desk(lab: Lab, options: Options, ledger: Ledger, site: str) -> Machines:
    found = lab.clouds.get(site)
    cloud = open_cloud(site, found, _state(options), shipped()["base"].image)
    flavours = flavours_of(found) if found else ()
    return Machines(site, terms_of(found) if found else _UNKNOWN, cloud, flavours, ledger)


def _since(row: MachineRecord) -> str:
    return describe_duration((row.destroyed or time.time()) - row.recorded)


def _print(rows: Sequence[tuple[MachineRecord, float]], as_json: bool) -> None:
    text = translator(language())
    if as_json:
        print_json([_as_json(row, cost) for row, cost in rows])
    elif not is_terminal():
        click.echo(plain(_COLUMNS, rows))
    elif rows:
        print_screen(table(_COLUMNS, rows, text))
    else:
        click.echo(text("machines.none"))


def _as_json(row: MachineRecord, cost: float) -> dict[str, Any]:
    times = {name: iso_time(getattr(row, name)) for name in ("recorded", "created", "destroyed")}
    return {**asdict(row), **times, "cost": round(cost, 6)}

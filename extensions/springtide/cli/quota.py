"""``springtide quota``: what limits one's jobs, and what is spent of it."""

from __future__ import annotations

import asyncio

import click

from springtide.cli.sites import Options, lab_options, language
from springtide.cli.tables import Column, is_terminal, plain, print_json, print_screen, table
from springtide.jobs.opening import own_desk
from springtide.jobs.quotas import Standing
from springtide.texts import translator
from springtide.units import describe_duration


def _amount(name: str) -> Column:
    def words(standing: Standing) -> str:
        shown = standing.as_json()
        allowed = shown["allowed"][name]
        return "" if allowed is None else f"{shown['used'][name]:.6g}/{allowed:g}"

    return Column(name, f"quotas.head_{name}", lambda standing, _: words(standing), words)


def _period(standing: Standing) -> str:
    return "" if standing.quota.core_hours is None else describe_duration(standing.quota.period)


_COLUMNS = (
    Column("whose", "quotas.head_whose", lambda standing, _: standing.whose, lambda standing: standing.whose),
    _amount("jobs"),
    _amount("cores"),
    _amount("core_hours"),
    Column("period", "quotas.head_period", lambda standing, _: _period(standing), _period),
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of quotas as JSON.")
@lab_options
def quota(options: Options, as_json: bool) -> None:
    """Show what your jobs and your groups' may take together, and what is taken: used/allowed."""
    text = translator(language())
    with options.ledger() as ledger:
        found = asyncio.run(own_desk(options.lab, ledger, state=options.state_path).quotas())
    if as_json:
        print_json([standing.as_json() for standing in found])
    elif not is_terminal():
        click.echo(plain(_COLUMNS, found))
    elif found:
        print_screen(table(_COLUMNS, found, text))
    else:
        click.echo(text("quotas.none"))

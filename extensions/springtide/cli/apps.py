"""``springtide apps``: what can be run, and what it takes."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markdown import Markdown
from rich.markup import escape

from springtide.cli.sites import Options, lab_options, language
from springtide.cli.tables import Column, is_terminal, plain, print_json, print_screen, table
from springtide.jobs.applications.describe import json_schema, page
from springtide.jobs.applications.load import Offer
from springtide.jobs.opening import own_desk
from springtide.texts import translator

_COLUMNS = (
    Column("application", "jobs.head_application", lambda offer, _: escape(offer.name), lambda offer: offer.name),
    Column(
        "environment",
        "jobs.head_environment",
        lambda offer, _: escape(offer.environment),
        lambda offer: offer.environment,
    ),
    Column(
        "label",
        "jobs.head_label",
        lambda offer, _: escape(offer.application.label.in_language(language())),
        lambda offer: offer.application.label.en,
    ),
)


@click.command()
@click.argument("application", default="", metavar="[APPLICATION]")
@click.option("--json", "as_json", is_flag=True, help="Print the applications, or the one named, as JSON.")
@lab_options
def apps(options: Options, application: str, as_json: bool) -> None:
    """List the applications that can be run, or say what APPLICATION takes."""
    with options.ledger() as ledger:
        desk = own_desk(options.lab, ledger, language=language())
        offers = [desk.offer(application)] if application else desk.offers()
    if as_json:
        found = [_as_json(offer) for offer in offers]
        print_json(found[0] if application else found)
    elif application:
        text = page(offers[0], language())
        print_screen(Markdown(text)) if is_terminal() else click.echo(text, nl=False)
    elif is_terminal():
        print_screen(table(_COLUMNS, offers, translator(language())))
    else:
        click.echo(plain(_COLUMNS, offers))


def _as_json(offer: Offer) -> dict[str, object]:
    application = offer.application
    return {
        "name": offer.name,
        "environment": offer.environment,
        "label": application.label.model_dump(),
        "help": application.help.model_dump() if application.help else None,
        "licence": application.licence or None,
        "file": str(Path(offer.file)),
        "parameters": json_schema(application),
        "outputs": {output.name: output.files for output in application.outputs},
        "plots": [plot.name for plot in application.plots],
    }

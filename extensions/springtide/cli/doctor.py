"""``springtide doctor``: tries everything the lab file names and says what to do about what is broken."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from springtide.errors import LabFileError
from springtide.hub.diagnosis import Finding, examine
from springtide.hub.state import default_state_directory
from springtide.lab.load import load_lab
from springtide.share import share_path

_MARKS = {"ok": "[green]ok[/]", "absent": "[dim]absent[/]", "broken": "[red]broken[/]"}


@click.command()
@click.option("--lab", "lab_path", type=click.Path(path_type=Path), help="Lab file [default: the one shipped].")
@click.option("--state", "state_path", type=click.Path(path_type=Path), help="State directory of the platform.")
@click.option("--site", default="", help="Look at this site only.")
@click.option("--user", default="", help="Whose account to try at batch sites [default: yours].")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(lab_path: Path | None, state_path: Path | None, site: str, user: str, as_json: bool) -> None:
    """Try each site for real and say what is ok, broken, and what to do.

    Exit status: 0 all is well, 1 something is broken, 2 the lab file is wrong.
    """
    path = lab_path or Path(os.environ.get("SPRINGTIDE_LAB") or share_path("hub_config", "lab.yaml"))
    try:
        lab = load_lab(path)
    except LabFileError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    if site and site not in lab.every_site:
        raise click.BadParameter(f"“{site}” is not in {path}; it has {', '.join(lab.every_site)}.", param_hint="--site")
    findings = examine(lab, (state_path or default_state_directory(lab)).absolute(), only=site, user=user)
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings], indent=2, ensure_ascii=False))
    else:
        _print_table(findings)
    sys.exit(1 if any(finding.state == "broken" for finding in findings) else 0)


def _print_table(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("what", "state", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        # What schedulers and engines say may hold brackets, which rich would read as its own.
        table.add_row(escape(finding.subject), _MARKS[finding.state], escape(finding.message), escape(finding.hint))
    Console().print(table)

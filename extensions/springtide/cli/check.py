"""``springtide check`` and ``springtide schema``: is this lab file right, and what may it say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from springtide.errors import ApplicationFileError, LabFileError
from springtide.jobs.applications.load import Offer, applications_of
from springtide.lab.clouds import CloudSite, MachineSize, OpenStackSite
from springtide.lab.load import load_lab
from springtide.lab.models import BatchSite, CpuRange, Lab, LocalSite, MemoryRange, Profile, WalltimeRange
from springtide.lab.profiles import label, queues_of, site_label
from springtide.lab.schema import lab_schema
from springtide.units import describe_duration, format_memory

WRONG_FILE = 2


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON on standard output.")
def check(file: Path, as_json: bool) -> None:
    """Say whether the lab file FILE and its environments' applications are right, and what the lab offers.

    Ends with 0, or with 2 and every fault on standard error: file, line, key, what was found, what is allowed.
    """
    try:
        lab = load_lab(file)
        offers, problems = applications_of(lab)
        if problems:
            raise ApplicationFileError(problems)
    except LabFileError as error:
        if as_json:
            faults = [vars(problem) for problem in error.problems]
            click.echo(json.dumps({"file": str(file), "ok": False, "problems": faults}, indent=2, ensure_ascii=False))
        for problem in error.problems:
            click.echo(str(problem), err=True)
        raise SystemExit(WRONG_FILE) from None
    if as_json:
        click.echo(json.dumps(_as_json(file, lab) | {"applications": sorted(offers)}, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_in_words(file, lab, offers)))


@click.command()
def schema() -> None:
    """Print the JSON schema of the lab file, for editors.

    Save it beside the lab file and start that one with ``# yaml-language-server: $schema=lab.schema.json``.
    """
    click.echo(json.dumps(lab_schema(), indent=2, ensure_ascii=False))


def _as_json(file: Path, lab: Lab) -> dict[str, Any]:
    described = lab.model_dump(mode="json", by_alias=True, include={"lab", "every_site", "environments", "profiles"})
    # The variables of a site may hold keys of other services.
    for site in described["sites"].values():
        if "environment_variables" in site:
            site["environment_variables"] = sorted(site["environment_variables"])
    return {"file": str(file), "ok": True, **described}


def _in_words(file: Path, lab: Lab, offers: Mapping[str, Offer]) -> list[str]:
    lines = [f"{file} is right. {lab.lab.name}, http://{_in_url(lab.hub.address)}:{lab.hub.port}", "", "Sites"]
    lines += [f"  {name}: {_describe_site(lab, name)}" for name in lab.sites]
    lines += [f"  {name}: {_describe_cloud(name, cloud)}" for name, cloud in lab.clouds.items()]
    lines += ["", "Profiles"]
    for profile in lab.profiles:
        lines += [f"  {profile.name}: {label(profile, 'en')}", f"    {_describe_profile(lab, profile)}"]
    if offers:
        lines += ["", "Applications"]
        lines += [f"  {name}: {offer.application.label.en}" for name, offer in offers.items()]
    unused = sorted(set(lab.sites) - {profile.site for profile in lab.profiles})
    return lines + ([f"\nNo profile uses: {', '.join(unused)}."] if unused else [])


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _describe_site(lab: Lab, name: str) -> str:
    site = lab.sites[name]
    kinds = {"docker": "containers of this machine", "host": "processes of this machine"}
    what = kinds[site.runtime] if isinstance(site, LocalSite) else f"batch queue ({site.kind})"
    called = site_label(lab, name, "en")
    words = [what] + ([f'called "{called}"'] if called != name else [])
    if isinstance(site, BatchSite) and site.runtime != "host":
        words.append(f"jobs of applications in containers of {site.runtime}")
    return ", ".join(words + (["offered where it is found"] if site.optional else []))


def _describe_cloud(name: str, cloud: CloudSite) -> str:
    where = f"the OpenStack cloud {cloud.cloud}" if isinstance(cloud, OpenStackSite) else "this machine"
    words = [
        f"virtual machines of {where}",
        f"at most {cloud.maximum_machines} for {describe_duration(cloud.lifetime)} each",
    ]
    if cloud.label and cloud.label.en != name:
        words.append(f'called "{cloud.label.en}"')
    if cloud.budget:
        words.append(f"{cloud.budget.amount:g} {cloud.currency} a {cloud.budget.per}")
    sizes = [_describe_size(flavour, size, cloud.currency) for flavour, size in cloud.flavours.items()]
    return "\n    ".join((", ".join(words), *sizes))


def _describe_size(name: str, size: MachineSize, currency: str) -> str:
    price = f"{size.price_per_hour:g} {currency} an hour" if size.price_per_hour else "free of charge"
    cores = f"{size.cores} core" + ("" if size.cores == 1 else "s")
    return f"{name}: {cores}, {format_memory(size.memory)}, {price}"


def _describe_profile(lab: Lab, profile: Profile) -> str:
    words = [f"on {profile.site}, environment {profile.environment}", _describe_cpus(profile.cpus)]
    words.append(_describe_range("memory", profile.memory, format_memory))
    if profile.walltime:
        words.append(_describe_range("time", profile.walltime, describe_duration))
    if queues := queues_of(lab, profile):
        words.append(f"queue {' or '.join(queues)}")
    if profile.groups:
        words.append(f"for {', '.join(sorted(profile.groups))} only")
    return "; ".join(words)


def _describe_cpus(cpus: CpuRange) -> str:
    cores = f"{cpus.default:g} core" + ("" if cpus.default == 1 else "s")
    return cores if cpus.min == cpus.max else f"{cores} (from {cpus.min:g} to {cpus.max:g})"


def _describe_range(word: str, limits: MemoryRange | WalltimeRange, show: Any) -> str:
    text = f"{word} {show(limits.default)}"
    return text if limits.min == limits.max else f"{text} (from {show(limits.min)} to {show(limits.max)})"

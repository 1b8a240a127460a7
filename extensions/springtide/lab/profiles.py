"""Questions asked of a lab: which profiles someone sees, where they run, what they are called."""

from __future__ import annotations

from collections.abc import Collection

from springtide.lab.models import BatchSite, Environment, Lab, LocalSite, Profile


def find_profile(lab: Lab, name: str) -> Profile:
    """Return the profile called `name`.

    Raises
    ------
    KeyError
        If the lab has none of that name.
    """
    for profile in lab.profiles:
        if profile.name == name:
            return profile
    raise KeyError(name)


def visible_profiles(lab: Lab, groups: Collection[str]) -> tuple[Profile, ...]:
    """Return the profiles that a member of `groups` may use, in the order of the lab file.

    Both the profile and its environment must be open to them.
    """
    closed = closed_environments(lab, groups)
    return tuple(
        profile for profile in lab.profiles if _is_open(profile.groups, groups) and profile.environment not in closed
    )


def closed_environments(lab: Lab, groups: Collection[str]) -> frozenset[str]:
    """Return the names of the environments that a member of `groups` may not use."""
    return frozenset(name for name, one in lab.environments.items() if not _is_open(one.groups, groups))


def _is_open(to: frozenset[str], groups: Collection[str]) -> bool:
    return not to or bool(to & set(groups))


def site_of(lab: Lab, profile: Profile) -> LocalSite | BatchSite:
    """Return the site where `profile` runs."""
    return lab.sites[profile.site]


def environment_of(lab: Lab, profile: Profile) -> Environment:
    """Return the environment in which `profile` runs; its defaults where the lab does not declare it."""
    return lab.environments.get(profile.environment, Environment())


def label(profile: Profile, language: str) -> str:
    """Return what people read as the name of `profile` in `language` ("en" or "fr")."""
    return profile.label.in_language(language) if profile.label else profile.name


def description(profile: Profile, language: str) -> str:
    """Return the sentence that describes `profile` in `language`; empty where it has none."""
    return profile.description.in_language(language) if profile.description else ""


def site_label(lab: Lab, name: str, language: str) -> str:
    """Return what people read as the name of site `name` in `language`."""
    text = lab.sites[name].label
    return text.in_language(language) if text else name


def queues_of(lab: Lab, profile: Profile) -> tuple[str, ...]:
    """Return the queues a user of `profile` may choose from; empty where it is the scheduler's choice."""
    site = site_of(lab, profile)
    if isinstance(site, LocalSite):
        return ()
    return profile.queues or ((site.queue,) if site.queue else ())

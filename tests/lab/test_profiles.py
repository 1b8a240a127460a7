"""Questions asked of a lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from springtide.lab.load import parse_lab
from springtide.lab.models import BatchSite, Environment
from springtide.lab.profiles import (
    closed_environments,
    description,
    environment_of,
    find_profile,
    label,
    queues_of,
    site_label,
    site_of,
    visible_profiles,
)

LAB = parse_lab(
    """
springtide: 1
sites:
  desk: {kind: local, label: {en: Desk, fr: Bureau}}
  cluster: {kind: slurm, queue: day}
profiles:
  - {name: open, site: desk, label: {en: Small, fr: Petite}, description: Room for one}
  - {name: lisa-only, site: cluster, groups: [lisa]}
  - {name: both, site: cluster, groups: [lisa, lpf], queues: [day, night]}
""",
    Path("/srv/lab.yaml"),
)


def test_everyone_sees_profiles_without_groups() -> None:
    assert [profile.name for profile in visible_profiles(LAB, [])] == ["open"]


def test_members_of_a_group_see_its_profiles_too() -> None:
    assert [profile.name for profile in visible_profiles(LAB, {"lpf"})] == ["open", "both"]
    assert [profile.name for profile in visible_profiles(LAB, ["lisa"])] == ["open", "lisa-only", "both"]


def test_an_environment_for_a_group_takes_its_profiles_along() -> None:
    private = LAB.environments | {"lpf": Environment(image="r.fr/lpf:1", groups=frozenset({"lpf"}))}
    profiles = tuple(one.model_copy(update={"environment": "lpf"}) for one in LAB.profiles)
    lab = LAB.model_copy(update={"environments": private, "profiles": profiles})
    assert visible_profiles(lab, []) == ()
    assert [profile.name for profile in visible_profiles(lab, ["lpf"])] == ["open", "both"]
    # Both must be open to her, the profile and its environment.
    assert visible_profiles(lab, ["lisa"]) == ()
    assert closed_environments(lab, ["lisa"]) == {"lpf"}
    assert closed_environments(lab, ["lpf", "lisa"]) == set()


def test_a_profile_is_found_by_its_name() -> None:
    assert isinstance(site_of(LAB, find_profile(LAB, "both")), BatchSite)
    with pytest.raises(KeyError):
        find_profile(LAB, "none")


def test_labels_follow_the_language_and_fall_back_to_the_name() -> None:
    assert [label(LAB.profiles[0], language) for language in ("en", "fr")] == ["Small", "Petite"]
    assert label(LAB.profiles[1], "fr") == "lisa-only"
    assert [site_label(LAB, name, "fr") for name in ("desk", "cluster")] == ["Bureau", "cluster"]


def test_a_description_in_one_language_serves_both() -> None:
    assert description(LAB.profiles[0], "fr") == "Room for one"
    assert description(LAB.profiles[1], "fr") == ""


def test_queues_are_those_of_the_profile_or_that_of_the_site() -> None:
    assert [queues_of(LAB, profile) for profile in LAB.profiles] == [(), ("day",), ("day", "night")]


def test_a_profile_has_an_environment_with_a_recipe() -> None:
    assert environment_of(LAB, LAB.profiles[0]).folder

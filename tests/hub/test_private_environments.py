"""An environment for a group: to everyone else its profiles do not exist, on the form and in the API."""

from __future__ import annotations

import pytest

from springtide.errors import OptionsError
from springtide.hub.options import validate_options
from springtide.hub.spawn_form import profile_cards
from springtide.lab.models import Lab

LAB = Lab.model_validate(
    {
        "springtide": 1,
        "environments": {"lpf": {"image": "registry.lab.fr/lpf:1", "groups": ["lpf"]}},
        "sites": {"here": {"kind": "local"}},
        "profiles": [
            {"name": "small", "site": "here"},
            {"name": "lpf", "site": "here", "environment": "lpf"},
        ],
    }
)


def cards(*groups: str) -> list[str]:
    return [card.name for card in profile_cards(LAB, language="en", groups=groups, places=[], defaults={})]


def test_only_members_see_its_card() -> None:
    assert cards("lpf", "other") == ["small", "lpf"]
    assert cards("other") == ["small"]


def test_only_members_may_ask_for_it() -> None:
    assert validate_options(LAB, {"profile": "lpf"}, {"lpf"}).profile == "lpf"
    with pytest.raises(OptionsError) as refused:
        validate_options(LAB, {"profile": "lpf"}, {"other"})
    assert str(refused.value) == "There is no profile “lpf”. The profiles open to you are: small."
    with pytest.raises(OptionsError, match="Il n’existe pas de profil"):
        validate_options(LAB, {"profile": ["lpf"]}, (), language="fr")


def test_who_has_left_the_group_is_not_offered_her_last_choice() -> None:
    last = {"profile": "lpf", "cpus": 1, "memory": 2**31}
    offered = profile_cards(LAB, language="en", groups=(), places=[], defaults=last)
    assert [(card.name, card.selected) for card in offered] == [("small", True)]

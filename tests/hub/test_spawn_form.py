"""The spawn form as HTML: cards, limits, what is chosen, what is disabled and why."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser

import pytest

from springtide.hub.options import as_user_options, default_request, validate_options
from springtide.hub.places import ContainerFacts, ProfileState, QueueFacts, profile_state
from springtide.hub.spawn_form import profile_cards, render_spawn_form
from springtide.lab.models import Lab

GIB = 2**30
LAB = Lab.model_validate(
    {
        "springtide": 1,
        "environments": {"lisa": {"image": "lab/lisa:1", "label": {"en": "LISA suite", "fr": "Suite LISA"}}},
        "sites": {"here": {"kind": "local"}, "cluster": {"kind": "slurm"}},
        "profiles": [
            {
                "name": "small",
                "site": "here",
                "label": {"en": "Notebook", "fr": "Carnet"},
                "description": "For <tutorials> & small things.",
                "memory": {"default": "2G", "min": "1G", "max": "6G"},
                "cpus": {"default": 1, "min": 0.5, "max": 2},
            },
            {"name": "fixed", "site": "here", "environment": "lisa", "cpus": 2, "memory": "4G"},
            {
                "name": "node",
                "site": "cluster",
                "cpus": {"min": 1, "max": 128},
                "walltime": {"default": "90m", "min": "10m", "max": "1d"},
                "queues": ["batch", "long"],
            },
            {"name": "gpu", "site": "here", "groups": ["gpu-team"]},
        ],
    }
)
SMALL, FIXED, NODE, _ = LAB.profiles


class Elements(HTMLParser):
    """All elements of a page with their attributes, and all its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


def form(
    language: str = "en", *groups: str, defaults: Mapping[str, object] | None = None, down: tuple[str, ...] = ()
) -> Elements:
    html = render_spawn_form(
        LAB, language=language, groups=groups, places=_states(down), defaults=defaults or {}, server_name=""
    )
    return Elements(html)


def _states(down: tuple[str, ...] = ()) -> list[ProfileState]:
    engine = ContainerFacts("here" not in down, images={"base": "ready", "lisa": "ready"})
    queue = QueueFacts("cluster" not in down, cores_total=8, cores_free=8)
    return [profile_state(LAB, profile, queue if profile.site == "cluster" else engine) for profile in LAB.profiles]


def picks(page: Elements) -> dict[str | None, dict[str, str | None]]:
    return {element["value"]: element for element in page.named("input") if element.get("type") == "radio"}


def test_one_card_for_each_visible_profile() -> None:
    assert list(picks(form())) == ["small", "fixed", "node"]
    assert list(picks(form("en", "gpu-team"))) == ["small", "fixed", "node", "gpu"]


def test_labels_descriptions_and_names_are_in_the_readers_language_and_escaped() -> None:
    page = form("fr")
    assert "Carnet" in page.text
    assert "Suite LISA" in page.text
    assert "2 cœurs" in page.text
    assert "For <tutorials> & small things." in page.text
    assert not page.named("tutorials")


def test_every_control_has_a_label_and_every_description_exists() -> None:
    page = form()
    ids = [attributes.get("id") for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    labelled = {label["for"] for label in page.named("label")}
    for control in page.named("input") + page.named("select"):
        assert control["id"] in labelled
    for pick in picks(page).values():
        assert set((pick["aria-describedby"] or "").split()) <= set(ids)


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = form()
    assert not [attributes for _, attributes in page.elements if attributes.get("src") or attributes.get("href")]


def test_the_first_place_that_is_ready_is_chosen() -> None:
    assert [name for name, pick in picks(form()).items() if "checked" in pick] == ["small"]
    assert [name for name, pick in picks(form(down=("here",))).items() if "checked" in pick] == ["node"]


def test_a_place_that_is_down_is_disabled_and_says_why() -> None:
    page = form(down=("cluster",))
    assert "disabled" in picks(page)["node"]
    assert "It does not answer." in page.text
    assert "Choose another place." in page.text


def test_nothing_is_chosen_where_nothing_can_start() -> None:
    page = form(down=("cluster", "here"))
    assert not [pick for pick in picks(page).values() if "checked" in pick]


def test_the_last_choice_is_proposed_again() -> None:
    asked = validate_options(LAB, {"profile": "node", "cpus": 3, "queue": "long", "walltime": "7h"}, ())
    cards = {
        card.name: card
        for card in profile_cards(LAB, language="en", groups=(), places=[], defaults=as_user_options(asked))
    }
    assert cards["node"].selected
    assert [control.shown for control in cards["node"].controls] == ["3 cores", "2 GB", "7 h", "long"]


def test_what_is_no_longer_allowed_of_a_last_choice_is_left_out() -> None:
    last = {"profile": "node", "cpus": 4000, "walltime": "7h"}
    cards = {card.name: card for card in profile_cards(LAB, language="en", groups=(), places=[], defaults=last)}
    assert cards["node"].selected
    assert [control.shown for control in cards["node"].controls] == ["1 core", "2 GB", "7 h", "batch"]


@pytest.mark.parametrize("stale", [{"profile": "gone"}, {"profile": "gone", "cpus": 2}, {"nonsense": [1, 2]}])
def test_a_last_choice_whose_profile_is_gone_is_forgotten(stale: dict[str, object]) -> None:
    assert [name for name, pick in picks(form(defaults=stale)).items() if "checked" in pick] == ["small"]


def test_what_cannot_be_changed_is_said_and_not_sent() -> None:
    page = form()
    names = [select["id"] for select in page.named("select")]
    assert not [name for name in names if name and name.startswith("profile-fixed")]
    assert "4 GB" in page.text


def test_only_the_chosen_cards_resources_are_sent() -> None:
    controls = [element for element in form().named("fieldset") if element.get("class") == "st-controls"]
    assert ["disabled" in element for element in controls] == [False, True]


def test_every_choice_offered_is_accepted() -> None:
    for card in profile_cards(LAB, language="fr", groups=(), places=[], defaults={}):
        for control in card.controls:
            for choice in control.choices:
                if not control.fixed:
                    validate_options(LAB, {"profile": [card.name], control.name: [choice.value]}, ())


def test_the_choices_span_the_limits_and_hold_the_default() -> None:
    cards = {card.name: card for card in profile_cards(LAB, language="en", groups=(), places=[], defaults={})}
    memory = next(control for control in cards["small"].controls if control.name == "memory")
    assert [choice.label for choice in memory.choices] == ["1 GB", "1.5 GB", "2 GB", "3 GB", "4 GB", "6 GB"]
    cpus = next(control for control in cards["node"].controls if control.name == "cpus")
    assert [choice.value for choice in cpus.choices] == ["1", "2", "4", "8", "16", "32", "64", "128"]
    walltime = next(control for control in cards["node"].controls if control.name == "walltime")
    assert walltime.shown == "1 h 30 min"
    assert default_request(LAB, SMALL).cpus == 1


def test_a_lab_without_a_profile_for_the_user_says_so() -> None:
    lab = Lab.model_validate(
        {
            "springtide": 1,
            "sites": {"here": {"kind": "local"}},
            "profiles": [{"name": "a", "site": "here", "groups": ["x"]}],
        }
    )
    page = Elements(render_spawn_form(lab, language="en", groups=(), places=(), defaults={}))
    assert "No profile of this lab is open to you." in page.text

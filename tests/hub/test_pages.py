"""JupyterHub's pages as users meet them: a real hub and proxy, over HTTP and in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from jupyterhub._data import DATA_FILES_PATH
from playwright.async_api import Page, expect

from springtide.hub.pages import say_known, status_title, template_paths
from springtide.texts import LANGUAGES, translate
from tests.hub.pages_hub import ENGINE, QUEUE, PagesHub, running_pages_hub
from tests.support.browser import Desk
from tests.support.waiting import wait_until

TEMPLATES = Path(template_paths()[0])
VALUES = dict.fromkeys(
    ["lab", "name", "number", "names", "service", "session", "moment", "duration", "message", "code", "profile"], "x"
)
PHONE = {"width": 390, "height": 800}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesHub]:
    with running_pages_hub(tmp_path_factory.mktemp("pages")) as hub:
        yield hub


@pytest.fixture
def hub(running: PagesHub) -> PagesHub:
    """Return the hub, with every place ready and the long queue held."""
    running.say("containers", ENGINE)
    running.say("queue-cluster", QUEUE)
    running.hold()
    return running


@pytest.fixture
async def french(new_page: Desk) -> Page:
    return await new_page("fr-FR")


def html(answer: requests.Response) -> str:
    """Return a page's text: the hub names its encoding in the page, where requests does not look."""
    return answer.content.decode()


def wait_ready(hub: PagesHub, user: str, server: str = "") -> None:
    visitor = hub.login(user)

    def ready() -> bool:
        servers = hub.api(visitor, "GET", f"users/{user}").json()["servers"]
        return bool(servers.get(server, {}).get("ready"))

    wait_until(ready, 30, f"{user}'s session is ready")


# --- texts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template", sorted(path.name for path in TEMPLATES.glob("*.html") if path.name != "gallery.html")
)
def test_every_text_of_a_page_is_there_in_both_languages(template: str) -> None:
    source = (TEMPLATES / template).read_text()
    for key in set(re.findall(r'\bt\("([\w.]+)"\s*[,)]', source)):
        for language in LANGUAGES:
            assert translate(language, key, **VALUES)


def test_jupyterhubs_own_sentences_are_translated_and_others_left_alone() -> None:
    assert say_known("Invalid username or password", "fr") == "Nom d’utilisateur ou mot de passe incorrect."
    assert say_known("Disk full", "fr") == "Disk full"
    assert say_known(None, "fr") == ""
    assert [status_title(404, "fr"), status_title(418, "fr")] == ["Cette page n’existe pas", "I'm a Teapot"]


def test_the_page_gives_jupyterhubs_scripts_all_they_read() -> None:
    original = Path(DATA_FILES_PATH) / "templates" / "page.html"
    pattern = r"^\s+(\w+): "
    ours, theirs = (
        set(re.findall(pattern, text.split("window.jhdata = ")[1].split("};")[0], re.MULTILINE))
        for text in ((TEMPLATES / "page.html").read_text(), original.read_text())
    )
    assert theirs <= ours
    blocks = r"{% block (\w+)"
    assert set(re.findall(blocks, original.read_text())) <= set(
        re.findall(blocks, (TEMPLATES / "page.html").read_text())
    )


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_are_told_apart_by_weak_eyes(theme: str) -> None:
    css = (TEMPLATES / "inline" / "springtide.css").read_text()
    block = css.split(f'[data-bs-theme="{theme}"] {{')[1].split("}")[0]
    colour = dict(re.findall(r"--st-([\w-]+): (#\w{6});", block))
    pairs = [(state, f"{state}-tint") for state in ("ready", "busy", "down", "missing")]
    pairs += [("on-accent", "accent"), ("accent", "card"), ("accent", "page"), ("soft", "card"), ("soft", "page")]
    for one, other in pairs:
        assert contrast(colour[one], colour[other]) >= 4.5, (one, other)
    assert contrast(colour["control-line"], colour["card"]) >= 3


# --- pages over HTTP ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepts", "language", "words"),
    [("fr-FR,fr;q=0.9,en;q=0.8", "fr", "Mot de passe"), ("en-GB", "en", "Password"), ("de", "en", "Password")],
)
def test_the_login_page_speaks_the_browsers_language(hub: PagesHub, accepts: str, language: str, words: str) -> None:
    answer = requests.get(f"{hub.url}/hub/login", headers={"Accept-Language": accepts}, timeout=10)
    assert f'<html lang="{language}">' in html(answer)
    assert words in html(answer)
    assert "Laboratoire Σ" in html(answer)


def test_a_wrong_password_is_said_in_the_users_language(hub: PagesHub) -> None:
    with requests.Session() as visitor:
        visitor.headers["Accept-Language"] = "fr"
        page = visitor.get(f"{hub.url}/hub/login", timeout=10).content.decode()
        token = re.findall(r'name="_xsrf" value="([^"]+)"', page)[0]
        form = {"username": "alice", "password": "wrong", "_xsrf": token}
        answer = visitor.post(f"{hub.url}/hub/login", data=form, timeout=10)
    assert answer.status_code == 403
    assert "Nom d’utilisateur ou mot de passe incorrect." in html(answer)
    assert 'value="alice"' in html(answer)


@pytest.mark.parametrize("path", ["/hub/home", "/hub/spawn", "/hub/token", "/hub/admin"])
def test_pages_of_ours_and_of_jupyterhub_carry_the_lab_and_the_language(hub: PagesHub, path: str) -> None:
    answer = hub.login("boss", "fr").get(path)
    assert answer.status_code == 200
    assert '<html lang="fr">' in html(answer)
    assert "Laboratoire Σ" in html(answer)
    assert 'href="/hub/gallery"' in html(answer)
    assert "Tutoriels" in html(answer)


def test_an_unknown_page_says_so_in_words(hub: PagesHub) -> None:
    answer = hub.login("alice", "fr").get("/hub/nowhere")
    assert answer.status_code == 404
    assert "Cette page n’existe pas" in html(answer)


def test_the_page_of_a_session_that_does_not_run_offers_to_start_it(hub: PagesHub) -> None:
    answer = hub.login("nora", "fr").get("/user/nora/lab/tree/a.ipynb")
    assert answer.status_code == 424
    assert "Cette session ne tourne pas" in html(answer)
    assert "/hub/spawn/nora?next=" in html(answer)


# --- options through the API, the form and links ------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda options: options, lambda options: {"user_options": options}])
def test_the_api_refuses_bad_options_with_400_and_says_which(hub: PagesHub, wrap: object) -> None:
    assert callable(wrap)
    visitor = hub.login("otto", "fr")
    answer = hub.api(visitor, "POST", "users/otto/servers/bad", wrap({"profile": "nope"}))
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Il n’existe pas de profil « nope ».")
    answer = hub.api(visitor, "POST", "users/otto/servers/bad", wrap({"profile": "small", "cmd": "id"}))
    assert answer.status_code == 400
    assert "« cmd »" in answer.json()["message"]


def test_a_refused_form_shows_why_and_what_was_chosen(hub: PagesHub) -> None:
    visitor = hub.login("olga")
    form = {"profile": "node", "cpus": "99", "walltime": "14400"}
    answer = visitor.post("/hub/spawn/olga/extra", params={"_xsrf": visitor.xsrf_token}, data=form)
    assert answer.status_code == 400
    assert "The value “99” of “cpus” is not allowed. Allowed: from 1 core to 16 cores." in html(answer)
    assert "Where should the session “extra” run?" in html(answer)
    assert re.search(r'value="node" id="profile-node"[^>]*checked', html(answer))
    assert '<option value="14400" selected>4 h</option>' in html(answer)


def test_a_link_with_bad_options_shows_why(hub: PagesHub) -> None:
    answer = hub.login("olga").get("/hub/spawn/olga?opt-profile=nope")
    assert answer.status_code == 400
    assert "There is no profile “nope”." in html(answer)


def test_a_link_with_good_options_starts_the_session(hub: PagesHub) -> None:
    visitor = hub.login("lars")
    visitor.get("/hub/spawn/lars?opt-profile=node&opt-walltime=3h")
    wait_ready(hub, "lars")
    options = hub.api(visitor, "GET", "users/lars").json()["servers"][""]["user_options"]
    assert options == {"profile": "node", "cpus": 4, "memory": 8 * 2**30, "walltime": 10800, "queue": "batch"}


# --- live state ---------------------------------------------------------------------------------------------------


def test_places_are_for_those_who_are_logged_in(hub: PagesHub) -> None:
    assert requests.get(f"{hub.url}/hub/api/springtide/places", timeout=10).status_code == 403


def test_places_are_told_in_the_users_language_and_by_group(hub: PagesHub) -> None:
    profiles = hub.api(hub.login("alice", "fr"), "GET", "springtide/places").json()["profiles"]
    assert [profile["profile"] for profile in profiles] == ["small", "node", "slow", "failing"]
    assert profiles[0]["badge"] == "Prêt"
    for_gina = hub.api(hub.login("gina"), "GET", "springtide/places").json()["profiles"]
    assert "gpu" in [profile["profile"] for profile in for_gina]


def test_a_token_opens_the_places_too(hub: PagesHub) -> None:
    token = hub.api(hub.login("alice"), "POST", "users/alice/tokens", {}).json()["token"]
    headers = {"Authorization": f"token {token}"}
    assert requests.get(f"{hub.url}/hub/api/springtide/places", headers=headers, timeout=10).status_code == 200


# --- in the browser -----------------------------------------------------------------------------------------------


async def test_a_session_is_started_with_the_keyboard_alone(hub: PagesHub, page: Page) -> None:
    await page.goto(f"{hub.url}/hub/login")
    await page.keyboard.type("kim")
    await page.keyboard.press("Tab")
    await page.keyboard.type("open")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/hub/spawn")
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.name") == "profile":
            break
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("radio", name="Cluster node")).to_be_checked()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#profile-node-cpus")).to_be_visible()
    await page.keyboard.press("Tab")
    await page.keyboard.type("8")
    await expect(page.locator("#profile-node-sum")).to_contain_text("8 cores")
    await page.get_by_role("button", name="Start").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/user/kim/**", timeout=30_000)
    visitor = hub.login("kim")
    options = hub.api(visitor, "GET", "users/kim").json()["servers"][""]["user_options"]
    assert (options["profile"], options["cpus"]) == ("node", 8)


async def test_the_last_choice_is_remembered(hub: PagesHub, page: Page) -> None:
    await hub.login_in(page, "mona")
    await page.get_by_role("radio", name="Cluster node").check()
    await page.locator("[data-profile=node] summary").click()
    await page.locator("#profile-node-memory").select_option("16 GB")
    await page.get_by_role("button", name="Start").click()
    await page.wait_for_url("**/user/mona/**", timeout=30_000)
    visitor = hub.login("mona")
    assert hub.api(visitor, "DELETE", "users/mona/server").status_code in (202, 204)
    wait_until(lambda: not hub.api(visitor, "GET", "users/mona").json()["servers"], 30, "the session is stopped")
    await page.goto(f"{hub.url}/hub/spawn")
    await expect(page.get_by_role("radio", name="Cluster node")).to_be_checked()
    await expect(page.locator("#profile-node-sum")).to_contain_text("16 GB")


async def test_cards_follow_what_happens_without_a_reload(hub: PagesHub, french: Page) -> None:
    await hub.login_in(french, "lena")
    card = french.locator("[data-profile=small]")
    await expect(card.locator(".st-badge")).to_have_text("Prêt")
    await expect(card.get_by_role("radio")).to_be_checked()
    hub.say("containers", {"reachable": False, "error": "Le moteur Docker est arrêté"})
    # The state is looked at every ten seconds, and kept for five.
    await expect(card.locator(".st-badge")).to_have_text("Ne répond pas", timeout=20_000)
    await expect(card.get_by_role("radio")).to_be_disabled()
    await expect(card).to_contain_text("Le moteur Docker est arrêté")
    await expect(french.get_by_role("button", name="Démarrer")).to_be_disabled()
    await expect(french.locator("#st-news")).to_contain_text("Petit carnet: Ne répond pas.")
    await french.get_by_role("radio", name="Nœud de calcul").check()
    await expect(french.get_by_role("button", name="Démarrer")).to_be_enabled()


async def test_a_named_session_is_followed_left_found_again_and_cancelled(hub: PagesHub, page: Page) -> None:
    await hub.login_in(page, "nils")
    await page.goto(f"{hub.url}/hub/home")
    await page.get_by_label("Name of the session").fill("Étude du bruit")
    await page.get_by_role("button", name="Choose its place").click()
    await page.wait_for_url("**/hub/spawn/nils/etude-du-bruit")
    await page.get_by_role("radio", name="Long queue").check()
    await page.get_by_role("button", name="Start").click()
    await page.wait_for_url("**/hub/spawn-pending/nils/etude-du-bruit**")
    await expect(page.get_by_role("heading", level=1)).to_have_text("The session “Étude du bruit” is starting")
    await expect(page.locator("#progress-message")).to_have_text("Waiting in the queue: all suitable cores are taken.")
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "10")
    await page.get_by_role("link", name="My sessions").last.click()
    await page.get_by_role("link", name="Follow the start of Étude du bruit").click()
    await page.get_by_role("button", name="Cancel the start").click()
    await page.wait_for_url("**/hub/home")
    row = page.locator("[data-session=etude-du-bruit]")
    await expect(row.locator(".st-badge")).to_have_text("Stopped", timeout=15_000)
    page.on("dialog", lambda dialog: dialog.accept())
    await row.get_by_role("button", name="Delete").click()
    await expect(row).to_have_count(0)


async def test_a_start_that_ends_well_leads_to_the_session_by_itself(hub: PagesHub, french: Page) -> None:
    await hub.login_in(french, "paul")
    await french.get_by_role("radio", name="Longue file").check()
    await french.get_by_role("button", name="Démarrer").click()
    await expect(french.locator("#progress-message")).to_contain_text("Waiting in the queue")
    hub.let_go()
    await french.wait_for_url("**/user/paul/**", timeout=30_000)
    await expect(french.locator("body")).to_have_text("the session")


async def test_a_start_that_fails_late_says_why_on_the_page(hub: PagesHub, page: Page) -> None:
    await hub.login_in(page, "fred")
    await page.get_by_role("radio", name="Broken disk").check()
    await page.get_by_role("button", name="Start").click()
    shown = page.get_by_role("alert").filter(has_text="The node has no disk left. <b>Tell</b> the administrator.")
    await expect(shown).to_be_visible()
    await page.goto(f"{hub.url}/user/fred/")
    await expect(page.get_by_role("heading", level=1)).to_have_text("The session could not start")
    await expect(page.locator(".st-failed")).to_have_text("The node has no disk left. <b>Tell</b> the administrator.")


async def test_two_sessions_of_one_user_are_listed_opened_and_stopped(hub: PagesHub, french: Page) -> None:
    await hub.login_in(french, "rosa")
    visitor = hub.login("rosa")
    for server, profile in (("server", "small"), ("servers/second", "node")):
        assert hub.api(visitor, "POST", f"users/rosa/{server}", {"profile": profile}).status_code == 201
    await french.goto(f"{hub.url}/hub/home")
    rows = french.locator("#st-sessions > li")
    await expect(rows).to_have_count(2)
    await expect(rows.nth(0)).to_contain_text("Petit carnet · Cette machine")
    await expect(rows.nth(1)).to_contain_text("Nœud de calcul · Grappe de calcul")
    await expect(french.get_by_role("link", name="Ouvrir second")).to_have_attribute("href", "/user/rosa/second/")
    french.on("dialog", lambda dialog: dialog.accept())
    await french.get_by_role("button", name="Arrêter Session principale").click()
    await expect(rows).to_have_count(1)
    await french.get_by_label("Nom de la session").fill("second")
    await french.get_by_role("button", name="Choisir son lieu").click()
    await expect(french.locator("#st-another-error")).to_have_text("Vous avez déjà une session de ce nom.")


async def test_pages_fit_a_phone(hub: PagesHub, new_page: Desk) -> None:
    phone = await new_page("fr-FR", **PHONE)
    await phone.goto(f"{hub.url}/hub/login")
    await hub.login_in(phone, "theo")
    for path in ("/hub/spawn", "/hub/home", "/hub/nowhere", "/user/theo/x"):
        await phone.goto(hub.url + path)
        assert await phone.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path


async def test_no_page_writes_errors_to_the_console(hub: PagesHub, new_page: Desk) -> None:
    page = await new_page()
    await hub.login_in(page, "cora")
    await page.goto(f"{hub.url}/hub/home")
    await page.goto(f"{hub.url}/hub/spawn")
    await page.get_by_role("radio", name="Small notebook").check()
    await page.get_by_role("button", name="Start").click()
    await page.wait_for_url("**/user/cora/**", timeout=30_000)
    # The tiny session has no icon to give.
    assert [message for message in new_page.messages if "favicon" not in message] == []


async def test_another_site_cannot_read_the_places(hub: PagesHub, page: Page) -> None:
    await hub.login_in(page, "ella")
    status = "fetch('/hub/api/springtide/places').then((answer) => answer.status)"
    assert await page.evaluate(status) == 403  # it lacks the page's token


async def test_dark_display_is_kept_from_page_to_page(hub: PagesHub, page: Page) -> None:
    await page.goto(f"{hub.url}/hub/login")
    await page.get_by_role("button", name="Light or dark display").click()
    await hub.login_in(page, "dora")
    await expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")

"""The gallery on a real JupyterHub with real sessions, with and without a browser."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import pytest
from playwright.async_api import Page, async_playwright

from springtide.hub.gallery_copies import SessionFiles

BIN = Path(sys.executable).parent
ADMIN_TOKEN = "gallery-test-token"
SESSION_STARTS_WITHIN_S = 90
LATIN_NAME = "02 été & more"

CONFIG = """
import os
import threading
from pathlib import Path

from springtide.hub import pages
from springtide.hub.gallery_handlers import handlers
from springtide.lab.models import Lab, Text

here = Path(os.environ["GALLERY_TEST_FOLDER"])
port, hub_port, proxy_port = (int(number) for number in os.environ["GALLERY_TEST_PORTS"].split())
c.JupyterHub.bind_url = f"http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{hub_port}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{proxy_port}"
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.cookie_secret = os.urandom(32)
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"boss"}
c.JupyterHub.allow_named_servers = True
c.JupyterHub.load_roles = [{
    "name": "tests", "services": ["tests"],
    "scopes": ["admin:users", "admin:servers", "tokens", "list:users", "access:servers"],
}]
c.JupyterHub.services = [{"name": "tests", "api_token": os.environ["GALLERY_TEST_TOKEN"]}]
lab = Lab.model_validate({
    "springtide": 1, "lab": {"name": "Test lab"}, "sites": {"here": {"kind": "local"}},
    "profiles": [{"name": "any", "site": "here"}],
})
pages.install()
c.JupyterHub.template_paths = pages.template_paths()
c.JupyterHub.template_vars = pages.template_vars(lab)
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(here / "homes" / "{username}")
c.Spawner.cmd = [str(here / "session.sh")]
c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
c.Spawner.environment = {"GALLERY_TEST_FULL": lambda spawner: "1" if spawner.user.name == "full" else ""}
c.Spawner.default_url = "/lab"
c.Spawner.options_form = '<label>Environment <input name="environment" value="lisa"></label>'


def options(form, spawner=None):
    return {"environment": form["environment"][0]}


class Context:
    def __init__(self):
        self.uncopyable = threading.Lock()

    def environments_of(self, spawner):
        return set(spawner.user_options.get("environment", "").split())


c.Spawner.options_from_form = options
c.JupyterHub.extra_handlers = handlers(
    here / "notebooks",
    environments_of=Context().environments_of,
    environment_labels={"lisa": Text(en="LISA suite", fr="Suite LISA")},
    closed_to=lambda user: {"lisa"} if user.name == "stranger" else (),
    start_options=lambda user, environment: {"opt-environment": environment} if user.name == "direct" else {},
    timeout_s=6,
)
"""

# A session of user "full" cannot write a file of more than 100 kB: the closest an ordinary process comes to a full
# disk. None may overrule the permissions of its home, as root could.
SESSION = """#!/bin/sh
test -z "$GALLERY_TEST_FULL" || ulimit -f 200
exec {drop} {program} "$@"
"""


@dataclass(frozen=True)
class RunningHub:
    folder: Path
    url: str
    process: subprocess.Popen[bytes]

    def home(self, user: str) -> Path:
        return self.folder / "homes" / user

    def copy(self, user: str, name: str) -> Path:
        return self.home(user) / "tutorials" / f"{name}.ipynb"

    def copies(self, user: str) -> list[str]:
        """Return what lies in the user's folder of copies; Jupyter keeps checkpoints in a hidden one beside them."""
        return sorted(path.name for path in (self.home(user) / "tutorials").iterdir() if path.name[0] != ".")

    def master(self, name: str) -> Path:
        return self.folder / "notebooks" / f"{name}.ipynb"

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"token {ADMIN_TOKEN}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.request(method, f"{self.url}/hub/api{path}", json=body) as response,
        ):
            text = await response.text()
            assert response.status < 400, text
            return json.loads(text) if text else None

    async def start_session(self, user: str, server: str = "", environment: str = "") -> int:
        """Start a session and return its process id."""
        if not self.home(user).exists():
            await self.api("POST", f"/users/{user}")
        path = f"/users/{user}/servers/{server}" if server else f"/users/{user}/server"
        await self.api("POST", path, {"environment": environment})
        return await self.running(user, server)

    async def running(self, user: str, server: str = "") -> int:
        for _ in range(SESSION_STARTS_WITHIN_S * 4):
            servers = (await self.api("GET", f"/users/{user}"))["servers"]
            if servers.get(server, {}).get("ready"):
                return int(servers[server]["state"]["pid"]) if servers[server]["state"] else 0
            await asyncio.sleep(0.25)
        raise AssertionError(f"the session of {user} does not start")

    async def gallery_tokens(self, user: str) -> list[str]:
        tokens = (await self.api("GET", f"/users/{user}/tokens"))["api_tokens"]
        return [token["note"] for token in tokens if "gallery" in token["note"]]


class Browser:
    """A user's logged-in cookies, without a browser."""

    def __init__(self, http: aiohttp.ClientSession, hub: RunningHub) -> None:
        self.http = http
        self.hub = hub
        self.xsrf = ""

    async def get(self, path: str, language: str = "en", **headers: str) -> tuple[int, str, str]:
        """Return status, text and Location; redirects are not followed."""
        headers = {"Accept-Language": language, **headers}
        async with self.http.get(self.hub.url + path, headers=headers, allow_redirects=False) as response:
            return response.status, await response.text(), response.headers.get("Location", "")

    async def gallery(self, language: str = "en") -> str:
        status, text, _ = await self.get("/hub/gallery", language)
        assert status == 200, text
        found = re.search(r'xsrf_token: "([^"]+)"', text)
        assert found
        self.xsrf = found[1]
        return text

    async def open(self, name: str, server: str = "", **form: str) -> tuple[int, str, str]:
        form = {"_xsrf": self.xsrf, "name": name, "server": server, **form}
        url = f"{self.hub.url}/hub/gallery/open"
        async with self.http.post(url, data=form, allow_redirects=False) as response:
            return response.status, await response.text(), response.headers.get("Location", "")


@asynccontextmanager
async def logged_in(hub: RunningHub, user: str) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.get(f"{hub.url}/hub/login") as response:
            form = re.search(r'name="_xsrf"\s+value="([^"]+)"', await response.text())
        assert form
        data = {"_xsrf": unescape(form[1]), "username": user, "password": "x"}
        async with http.post(f"{hub.url}/hub/login?next=/hub/gallery", data=data) as response:
            assert response.status == 200
        browser = Browser(http, hub)
        await browser.gallery()
        yield browser


def card(page: str, name: str) -> str:
    """Return the part of the page that shows tutorial `name`."""
    return page.split(f'data-tutorial="{name}"', 1)[1].split("</article>", 1)[0]


def write_master(hub: RunningHub, name: str, text: str, **springtide: Any) -> None:
    cells = [
        {"id": "a", "cell_type": "markdown", "metadata": {}, "source": text},
        {"id": "b", "cell_type": "code", "metadata": {}, "source": "1 + 1", "outputs": [], "execution_count": None},
    ]
    kernel = {"name": "python3", "display_name": "Python 3"}
    metadata = {"kernelspec": kernel, **({"springtide": springtide} if springtide else {})}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    hub.master(name).write_text(json.dumps(content), encoding="utf-8")


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    folder = tmp_path_factory.mktemp("gallery")
    for name in ("notebooks", "homes"):
        (folder / name).mkdir()
    (folder / "jupyterhub_config.py").write_text(CONFIG)
    # Root may write anywhere unless it gives that up.
    drop = "setpriv --bounding-set=-dac_override,-dac_read_search" if os.geteuid() == 0 else ""
    session = folder / "session.sh"
    session.write_text(SESSION.format(drop=drop, program=BIN / "jupyterhub-singleuser"))
    session.chmod(0o755)
    ports = free_ports(3)
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "GALLERY_TEST_FOLDER": str(folder),
        "GALLERY_TEST_PORTS": " ".join(map(str, ports)),
        "GALLERY_TEST_TOKEN": ADMIN_TOKEN,
    }
    with (folder / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            [BIN / "jupyterhub", "-f", folder / "jupyterhub_config.py"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        running = RunningHub(folder, f"http://127.0.0.1:{ports[0]}", process)
        try:
            _wait_until_up(running)
            write_master(
                running,
                "01-noise",
                "# Noise",
                title={"en": "LISA noise", "fr": "Bruit de LISA"},
                summary={"en": "Simulate the noise.", "fr": "Simulez le bruit."},
                environment="lisa",
                minutes=3,
                order=1,
            )
            write_master(running, LATIN_NAME, "# Été <script>alert(1)</script>\n\nMore.")
            write_master(running, "03-large", "# Large\n\n" + "x" * 300_000)
            running.master("04-broken").write_text('{"nbformat": 4, "cells": [')
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _wait_until_up(hub: RunningHub) -> None:
    for _ in range(240):
        assert hub.process.poll() is None, (hub.folder / "hub.log").read_text()
        try:
            urllib.request.urlopen(f"{hub.url}/hub/health", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
        else:
            return
    raise AssertionError((hub.folder / "hub.log").read_text())


async def test_opening_makes_a_copy_once_and_never_touches_it_again(hub: RunningHub) -> None:
    await hub.start_session("ada", environment="lisa")
    async with logged_in(hub, "ada") as ada:
        status, _, location = await ada.open("01-noise")
        assert (status, location) == (303, "/user/ada/lab/tree/tutorials/01-noise.ipynb")
        made = json.loads(hub.copy("ada", "01-noise").read_text())
        assert made["cells"][0]["source"] == "# Noise"
        made["cells"][0]["source"] = "# Mine"
        edited = json.dumps(made)
        hub.copy("ada", "01-noise").write_text(edited)
        assert (await ada.open("01-noise"))[0] == 303
        assert hub.copy("ada", "01-noise").read_text() == edited
        assert hub.copies("ada") == ["01-noise.ipynb"]
        assert await hub.gallery_tokens("ada") == []


async def test_a_fresh_copy_stands_beside_the_first_and_a_double_click_makes_one(hub: RunningHub) -> None:
    await hub.start_session("bea", environment="lisa")
    async with logged_in(hub, "bea") as bea:
        await bea.open("01-noise")
        hub.copy("bea", "01-noise").write_text("{}")
        clicks = await asyncio.gather(*(bea.open("01-noise", fresh="1") for _ in range(3)))
        assert {location for _, _, location in clicks} == {"/user/bea/lab/tree/tutorials/01-noise-2.ipynb"}
        assert hub.copy("bea", "01-noise").read_text() == "{}"
        page = card(await bea.gallery(), "01-noise")
        assert "My 2 copies" in page
        await asyncio.sleep(3.1)
        assert (await bea.open("01-noise", fresh="1"))[2].endswith("01-noise-3.ipynb")


async def test_a_tutorial_of_an_environment_for_others_says_so_and_is_not_opened(hub: RunningHub) -> None:
    await hub.api("POST", "/users/stranger")
    async with logged_in(hub, "stranger") as stranger:
        page = card(await stranger.gallery(), "01-noise")
        assert "It needs the environment “LISA suite”, which is for members of its group only." in page
        assert "tutorial-start" not in page
        assert "tutorial-open" not in page
        assert "réservé aux membres" in card(await stranger.gallery("fr"), "01-noise")
        status, text, _ = await stranger.get("/hub/gallery/open?name=01-noise")
        assert (status, "for members of its group only" in unescape(text)) == (403, True)
        assert "tutorial-start" in card(await stranger.gallery(), "03-large")


async def test_the_card_tells_of_a_newer_version_until_she_has_it(hub: RunningHub) -> None:
    write_master(hub, "05-changing", "# First")
    await hub.start_session("cleo", environment="base lisa")
    async with logged_in(hub, "cleo") as cleo:
        assert "Open my copy" not in card(await cleo.gallery(), "05-changing")
        await cleo.open("05-changing")
        page = card(await cleo.gallery(), "05-changing")
        assert "Open my copy" in page
        assert "newer version" not in page
        write_master(hub, "05-changing", "# Second")
        assert "newer version" in card(await cleo.gallery(), "05-changing")
        await cleo.open("05-changing", fresh="1")
        assert "newer version" not in card(await cleo.gallery(), "05-changing")
    hub.master("05-changing").unlink()


async def test_forty_opens_at_once_give_everyone_one_copy(hub: RunningHub) -> None:
    users = ["dan", "eve", "fay", "gus"]
    await asyncio.gather(*(hub.start_session(user, environment="lisa") for user in users))

    async def click_ten_times(user: str) -> None:
        async with logged_in(hub, user) as browser:
            answers = await asyncio.gather(*(browser.open("01-noise") for _ in range(10)))
        assert {(status, location) for status, _, location in answers} == {
            (303, f"/user/{user}/lab/tree/tutorials/01-noise.ipynb")
        }

    await asyncio.gather(*map(click_ten_times, users))
    for user in users:
        assert hub.copies(user) == ["01-noise.ipynb"]
        assert json.loads(hub.copy(user, "01-noise").read_text())["metadata"]["springtide"]["origin"]
        assert await hub.gallery_tokens(user) == []


async def test_the_copy_runs_on_the_sessions_kernel_for_its_environment(hub: RunningHub) -> None:
    kernel = hub.home("kim") / ".local/share/jupyter/kernels/kernel-lisa"
    kernel.mkdir(parents=True)
    spec = {"argv": ["x"], "display_name": "LISA", "language": "python"}
    kernel.joinpath("kernel.json").write_text(json.dumps({**spec, "metadata": {"springtide": {"environment": "lisa"}}}))
    await hub.api("POST", "/users/kim")
    await hub.start_session("kim", environment="base lisa")
    async with logged_in(hub, "kim") as kim:
        await kim.open("01-noise")
    assert json.loads(hub.copy("kim", "01-noise").read_text())["metadata"]["kernelspec"]["name"] == "kernel-lisa"


async def test_a_broken_notebook_is_hidden_from_users_and_told_to_admins(hub: RunningHub) -> None:
    async with logged_in(hub, "hal") as hal:
        page = await hal.gallery()
        assert "04-broken" not in page
        assert card(page, "01-noise")
        assert (await hal.open("04-broken"))[0] == 404
    async with logged_in(hub, "boss") as boss:
        assert re.search("04-broken.*broken or half written", await boss.gallery())


@pytest.mark.parametrize(
    "name",
    [
        "../jupyterhub_config",
        "..",
        "",
        ".",
        "01-noise/../01-noise",
        "/etc/passwd",
        "01-noise.ipynb",
        "01-noise\x00",
        "no",
    ],
)
async def test_an_unknown_or_crooked_name_is_not_found(hub: RunningHub, name: str) -> None:
    async with logged_in(hub, "hal") as hal:
        assert (await hal.open(name))[0] in (400, 404)
        assert (await hal.get(f"/hub/gallery/open?name={quote(name)}"))[0] in (400, 404)


async def test_nobody_opens_in_another_users_server(hub: RunningHub) -> None:
    await hub.start_session("ivy", "own", environment="lisa")
    async with logged_in(hub, "hal") as hal:
        for server in ("own", "ivy/own", "../ivy", "ivy"):
            assert (await hal.open("01-noise", server))[0] == 404
    assert not hub.copy("ivy", "01-noise").exists()


async def test_opening_needs_the_forms_token_and_the_users_own_click(hub: RunningHub) -> None:
    async with logged_in(hub, "hal") as hal:
        hal.xsrf = "forged"
        assert (await hal.open("01-noise"))[0] == 403
        status, _, _ = await hal.get("/hub/gallery/open?name=01-noise", **{"Sec-Fetch-Mode": "no-cors"})
        assert status == 403
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{hub.url}/hub/gallery", allow_redirects=False) as response:
            assert response.headers["Location"].startswith("/hub/login")
        async with http.post(f"{hub.url}/hub/gallery/open", data={"name": "01-noise"}) as response:
            assert response.status == 403


async def test_the_page_speaks_the_browsers_language_and_escapes_what_authors_write(hub: RunningHub) -> None:
    async with logged_in(hub, "hal") as hal:
        french = await hal.gallery("fr-FR,fr;q=0.9,en;q=0.5")
        assert "Bruit de LISA" in french
        assert "Suite LISA" in french
        assert "Démarrer une session et ouvrir" in french
        assert "LISA noise" in await hal.gallery("de,en;q=0.5")
        assert "<script>alert" not in french


async def test_a_session_without_the_environment_is_told_apart_and_another_offered_beside_it(hub: RunningHub) -> None:
    await hub.start_session("joe", environment="base")
    async with logged_in(hub, "joe") as joe:
        page = card(await joe.gallery(), "01-noise")
        assert "does not have the environment “LISA suite”" in page
        start = re.search(r'href="([^"]+/spawn/[^"]+)"', page)
        assert start
        link = urlsplit(unescape(start[1]))
        assert link.path == "/hub/spawn/joe/lisa"
        assert parse_qs(link.query)["next"] == ["/hub/gallery/open?name=01-noise&server=lisa&environment=lisa"]
        await hub.start_session("joe", "lisa", environment="lisa")
        page = card(await joe.gallery(), "01-noise")
        assert 'name="server" value="lisa"' in page
        assert "does not have" not in page
        either = card(await joe.gallery(), LATIN_NAME.replace("&", "&amp;"))
        assert "<select" in either
        assert (await joe.open("01-noise", "lisa"))[2] == "/user/joe/lisa/lab/tree/tutorials/01-noise.ipynb"
        status, _, location = await joe.get("/hub/gallery/open?name=01-noise")
        assert (status, location) == (303, "/user/joe/lisa/lab/tree/tutorials/01-noise.ipynb")


async def test_a_full_disk_leaves_no_half_copy_and_says_so(hub: RunningHub) -> None:
    await hub.start_session("full")
    async with logged_in(hub, "full") as full:
        status, page, _ = await full.open("03-large")
        assert status == 507
        assert "The disk of your session is full" in page
        assert hub.copies("full") == []
        assert (await full.open("01-noise"))[0] == 303


async def test_a_home_that_cannot_be_written_is_told(hub: RunningHub) -> None:
    await hub.start_session("lea")
    folder = hub.home("lea") / "tutorials"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    async with logged_in(hub, "lea") as lea:
        status, page, _ = await lea.open("01-noise")
        assert status == 502
        assert "may not write" in page
        folder.rmdir()
        folder.write_text("mine")
        status, page, _ = await lea.open("01-noise")
        assert status == 502
        assert "a file named “tutorials”" in page
    assert folder.read_text() == "mine"


async def test_a_session_that_hangs_or_dies_costs_neither_page_nor_copy(hub: RunningHub) -> None:
    pid = await hub.start_session("max")
    async with logged_in(hub, "max") as max_:
        os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        assert "Open" in card(await max_.gallery(), "01-noise")
        assert time.monotonic() - begin < 6
        status, page, _ = await max_.open("01-noise")
        assert (status, "does not answer" in page) == (504, True)
        os.kill(pid, signal.SIGCONT)
        assert (await max_.open("01-noise"))[0] == 303
        assert json.loads(hub.copy("max", "01-noise").read_text())["cells"]
        os.kill(pid, signal.SIGKILL)
        assert (await max_.open("01-noise"))[0] == 504
        # Once the hub knows that it died, the same click leads to a new start.
        give_up_at = time.monotonic() + 60
        while (answer := await max_.open("01-noise"))[0] == 504 and time.monotonic() < give_up_at:
            await asyncio.sleep(0.2)
        assert (answer[0], answer[2][:15]) == (303, "/hub/spawn/max?")
        assert await hub.gallery_tokens("max") == []


async def test_a_file_that_appears_meanwhile_is_never_overwritten(hub: RunningHub) -> None:
    await hub.start_session("ned")
    folder = hub.home("ned") / "tutorials"
    folder.mkdir()
    (folder / "a.ipynb").write_text("mine")
    token = await hub.api("POST", "/users/ned/tokens", {"scopes": ["access:servers!server=ned/"]})
    async with aiohttp.ClientSession(headers={"Authorization": f"token {token['token']}"}) as http:
        files = SessionFiles(http, f"{hub.url}/user/ned/")
        assert not await files.create("tutorials/a.ipynb", "master")
        assert await files.create("tutorials/b.ipynb", "master")
    assert (folder / "a.ipynb").read_text() == "mine"
    assert (folder / "b.ipynb").read_text() == "master"
    assert hub.copies("ned") == ["a.ipynb", "b.ipynb"]


@asynccontextmanager
async def browser_page(hub: RunningHub, user: str, scheme: str = "light") -> AsyncIterator[Page]:
    chromium = shutil.which("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = await browser.new_page(locale="en-GB", color_scheme="dark" if scheme == "dark" else "light")
        await page.goto(f"{hub.url}/hub/login?next=/hub/gallery")
        await page.fill('[name="username"]', user)
        await page.fill('[name="password"]', "x")
        await page.click('[type="submit"]')
        await page.wait_for_url("**/hub/gallery")
        try:
            yield page
        finally:
            if folder := os.environ.get("SPRINGTIDE_SCREENSHOTS"):
                await page.screenshot(path=f"{folder}/gallery-{user}-end.png")
            await browser.close()


async def landed_in(page: Page, notebook: str) -> None:
    """JupyterLab shows `notebook`; it rewrites its address while it loads, so its tab tells."""
    tab = page.locator(".lm-TabBar-tabLabel", has_text=re.compile(f"^{re.escape(notebook)}"))
    await tab.first.wait_for(timeout=90_000)
    await page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-MarkdownOutput h1").first.wait_for(timeout=90_000)


async def test_without_a_session_the_button_starts_one_and_lands_in_the_notebook(hub: RunningHub) -> None:
    async with browser_page(hub, "pia") as page:
        await page.locator('[data-tutorial="01-noise"] .tutorial-start').press("Enter")
        await page.wait_for_url("**/hub/spawn/pia?**")
        await page.click("#spawn_form [type=submit]")
        await landed_in(page, "01-noise.ipynb")
        assert "/user/pia/lab" in page.url


async def test_where_the_lab_says_how_to_start_it_one_click_is_enough(hub: RunningHub) -> None:
    async with browser_page(hub, "direct", "dark") as page:
        await page.click('[data-tutorial="01-noise"] .tutorial-start')
        await landed_in(page, "01-noise.ipynb")
        await page.goto(f"{hub.url}/hub/gallery")
        await page.click('[data-tutorial="01-noise"] .tutorial-fresh')
        await landed_in(page, "01-noise-2.ipynb")
        await page.goto(f"{hub.url}/hub/gallery")
        assert await page.locator('[data-tutorial="01-noise"] details').count() == 1
        if folder := os.environ.get("SPRINGTIDE_SCREENSHOTS"):
            await page.screenshot(path=f"{folder}/gallery-dark.png", full_page=True)


async def test_a_link_from_a_tutor_leads_through_login_and_start_to_the_notebook(hub: RunningHub) -> None:
    async with browser_page(hub, "zoe") as page:
        if folder := os.environ.get("SPRINGTIDE_SCREENSHOTS"):
            await page.screenshot(path=f"{folder}/gallery-light.png", full_page=True)
        await page.goto(f"{hub.url}/hub/gallery/open?name={quote(LATIN_NAME)}")
        await page.click("#spawn_form [type=submit]")
        await landed_in(page, f"{LATIN_NAME}.ipynb")
    assert hub.copy("zoe", LATIN_NAME).is_file()


async def test_with_several_sessions_the_keyboard_chooses_one(hub: RunningHub) -> None:
    await hub.start_session("sue", environment="base")
    await hub.start_session("sue", "second", environment="base")
    async with browser_page(hub, "sue") as page:
        card = page.locator(f'[data-tutorial="{LATIN_NAME}"]')
        await card.get_by_label("In session").focus()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await landed_in(page, f"{LATIN_NAME}.ipynb")
        assert "/user/sue/second/lab" in page.url
        await page.goto(f"{hub.url}/hub/gallery")
        mismatch = page.locator('[data-tutorial="01-noise"] .tutorial-mismatch')
        assert "LISA suite" in await mismatch.inner_text()
        assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

"""The main job, as a scientist does it: from a clean clone to the LISA noise plot, in a real browser."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.support.accounts import TwoUsers
from tests.support.browser import Desk
from tests.support.docker_engine import DockerEngine
from tests.support.hub import RunningHub
from tests.support.leaks import LeakCheck
from tests.support.slurm import Slurm

TOP = Path(__file__).parents[2]
TUTORIAL_S = 300
MAKE_HUB = ("bash", "-c", 'exec make -C "$0" hub ARGS="$*"')


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a fresh copy of what git tracks, where every account may read it."""
    folder = Path("/var/tmp") / f"springtide-clone-{os.getpid()}"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, check=True, capture_output=True).stdout.split(b"\0")
    for name in filter(None, (file.decode() for file in files)):
        if (TOP / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, folder / name)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(900)
async def test_from_a_clean_clone_to_the_plot(
    nothing_left: LeakCheck,
    docker_engine: DockerEngine,
    slurm: Slurm,
    two_users: TwoUsers,
    clone: Path,
    new_page: Desk,
    tmp_path: Path,
) -> None:
    lab = {**_lab_of(clone), "hub": {}}
    hub = RunningHub(lab, tmp_path, slurm.environment, (*MAKE_HUB, str(clone)))
    try:
        hub.start(seconds=600)
        for found in ("machine: processes", "containers: Docker Engine", "cluster: slurm commands"):
            assert found in hub.output
        page = await new_page()
        page.set_default_timeout(60_000)
        await _log_in(page, hub, two_users.alice.name)
        await _start(page, "LISA tutorial")
        await _open_tutorial_and_run(page, hub)
        await _start_beside(page, hub, two_users.alice.name)
        assert [job.user for job in slurm.jobs() if job.state == "RUNNING"] == [two_users.alice.name]
        await _stop_both(page, hub)
        assert not slurm.jobs()
        assert not docker_engine.client.containers.list(filters={"label": f"springtide.user={two_users.alice.name}"})
    finally:
        hub.stop(90)
        _remove_volumes(docker_engine, hub)


def _lab_of(clone: Path) -> dict[str, object]:
    """Return the lab file that comes with Springtide; the ports alone are changed, as tests may run side by side."""
    import yaml

    lab: dict[str, object] = yaml.safe_load((clone / "hub_config" / "lab.yaml").read_text())
    return lab


async def _log_in(page: Page, hub: RunningHub, user: str) -> None:
    await page.goto(hub.url)
    await page.get_by_label("User name").fill(user)
    await page.get_by_label("Password", exact=True).fill(hub.password)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("heading", name="Where should your session run?")).to_be_visible()


async def _start(page: Page, profile: str) -> None:
    # The image may still be being built: the card tells, and becomes available by itself.
    await expect(page.get_by_role("radio", name=profile, exact=True)).to_be_enabled(timeout=400_000)
    await page.get_by_role("radio", name=profile, exact=True).check()
    await page.get_by_role("button", name="Start").click()
    await page.wait_for_url(re.compile(r"/user/[^/]+/([^/]+/)?lab"), timeout=120_000)


async def _open_tutorial_and_run(page: Page, hub: RunningHub) -> None:
    await page.goto(f"{hub.url}/hub/gallery")
    await page.get_by_role("button", name="Open", exact=False).first.click()
    tab = page.get_by_role("tab", name=re.compile("01-lisa-instrument-noise"))
    await expect(tab).to_be_visible(timeout=60_000)
    # JupyterLab asks which kernel to use when cells are run before it has one.
    await expect(page.get_by_text("LISA | Idle")).to_be_visible(timeout=60_000)
    await page.get_by_role("menuitem", name="Run", exact=True).click()
    await page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    plots = page.locator(".jp-OutputArea-output img")
    await expect(plots.last).to_be_visible(timeout=TUTORIAL_S * 1000)
    # The last cell that runs has a number, and none is still waiting.
    await expect(page.get_by_text("[*]:")).to_have_count(0, timeout=TUTORIAL_S * 1000)
    assert await page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert await plots.count() >= 2
    await page.keyboard.press("Control+s")
    await plots.last.scroll_into_view_if_needed()
    await _picture(page, "tutorial")


async def _start_beside(page: Page, hub: RunningHub, user: str) -> None:
    await page.goto(f"{hub.url}/hub/home")
    await page.get_by_role("textbox").fill("night run")
    await page.get_by_role("button", name="Choose", exact=False).click()
    await _start(page, "Notebook on the cluster")
    await page.goto(f"{hub.url}/hub/home")
    await expect(page.locator("#st-sessions > li[data-state=ready]")).to_have_count(2)
    await _picture(page, "home")


async def _stop_both(page: Page, hub: RunningHub) -> None:
    page.on("dialog", lambda dialog: dialog.accept())
    for left in (1, 0):
        await page.locator("#st-sessions > li[data-state=ready]").first.get_by_role("button", name="Stop").click()
        await expect(page.locator("#st-sessions > li[data-state=ready]")).to_have_count(left, timeout=60_000)
    await expect(page.locator("#st-sessions > li[data-state=stopping]")).to_have_count(0, timeout=60_000)


async def _picture(page: Page, name: str) -> None:
    """Keep a screenshot where SPRINGTIDE_SCREENSHOTS says."""
    if folder := os.environ.get("SPRINGTIDE_SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{name}.png")


def _remove_volumes(docker_engine: DockerEngine, hub: RunningHub) -> None:
    instance = (hub.state / "run" / "instance").read_text().strip()
    for volume in docker_engine.client.volumes.list():
        if instance in volume.name:
            volume.remove()

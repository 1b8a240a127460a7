"""The shared tutorials are stored clean, and run unchanged in their own environment."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import springtide
from springtide.environments.catalog import shipped
from springtide.environments.engine import connect
from springtide.environments.host import jupyter_path, prepare_host_environment
from springtide.errors import EngineError
from springtide.environments.at_home import PACKAGES
from springtide.share import share_path
from tests.kernels.sessions import image_of, run_in_image
from tests.support.docker_engine import find_dockerd

RUNNER = Path(__file__).with_name("run_notebook.py")
NOTEBOOKS = sorted(share_path("notebooks").glob("*.ipynb"))
LONGEST_S = 180
PNG_START = b"\x89PNG\r\n\x1a\n"

Notebook = dict[str, Any]
Run = Callable[[Path], Notebook]


def read(path: Path) -> Notebook:
    notebook: Notebook = json.loads(path.read_text(encoding="utf-8"))
    return notebook


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Return a function that runs a notebook: in a container where there is an engine, else on this machine."""
    if _engine_is_here():
        request.getfixturevalue("docker_engine")
        return _run_in_container
    return lambda notebook: _run_on_host(notebook, request.config, tmp_path)


def _engine_is_here() -> bool:
    if os.geteuid() == 0 and find_dockerd():
        return True
    try:
        connect().close()
    except EngineError:
        return False
    return True


def _run_in_container(path: Path) -> Notebook:
    environment = read(path)["metadata"]["springtide"]["environment"]
    image_of(environment)
    text = path.read_text(encoding="utf-8")
    return _timed(
        lambda: run_in_image(
            environment,
            ["env", f"PYTHONPATH={PACKAGES}", "python", "-c", RUNNER.read_text(encoding="utf-8")],
            stdin=text,
            # As sessions have it.
            mounts=[(Path(springtide.__file__).parent, f"{PACKAGES}/springtide")],
            seconds=LONGEST_S * 2,
        )
    )


def _run_on_host(path: Path, config: pytest.Config, folder: Path) -> Notebook:
    recipe = shipped()[read(path)["metadata"]["springtide"]["environment"]]
    root = config.cache.mkdir("environments") if config.cache else folder
    prepare_host_environment(recipe, root, sys.executable, print)
    return _timed(
        lambda: subprocess.run(
            [sys.executable, RUNNER],
            input=path.read_text(encoding="utf-8"),
            cwd=folder,
            env=os.environ | {"JUPYTER_PATH": ":".join(map(str, jupyter_path(root)))},
            capture_output=True,
            text=True,
            timeout=LONGEST_S * 2,
            check=False,
        )
    )


def _timed(run: Callable[[], subprocess.CompletedProcess[str]]) -> Notebook:
    started = time.monotonic()
    done = run()
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    assert seconds < LONGEST_S
    notebook: Notebook = json.loads(done.stdout)
    return notebook


def outputs(notebook: Notebook, cell_id: str) -> list[dict[str, Any]]:
    cell = next(cell for cell in notebook["cells"] if cell["id"] == cell_id)
    found: list[dict[str, Any]] = cell["outputs"]
    return found


def printed(notebook: Notebook, cell_id: str) -> str:
    return "".join(
        "".join(output["text"]) for output in outputs(notebook, cell_id) if output["output_type"] == "stream"
    )


def check_figure(notebook: Notebook, cell_id: str) -> None:
    figures = [output["data"]["image/png"] for output in outputs(notebook, cell_id) if "data" in output]
    assert len(figures) == 1
    picture = base64.b64decode(figures[0])
    assert picture.startswith(PNG_START)
    assert len(picture) > 20_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_is_stored_without_outputs(path: Path) -> None:
    code = [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    assert code
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_presents_itself_in_both_languages(path: Path) -> None:
    card = read(path)["metadata"]["springtide"]
    assert all(card[text][language] for text in ("title", "summary") for language in ("en", "fr"))
    assert card["order"] == int(path.name.split("-")[0])
    assert 0 < card["minutes"] * 60 <= LONGEST_S


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_names_a_shipped_environment_and_its_kernel(path: Path) -> None:
    metadata = read(path)["metadata"]
    environment = metadata["springtide"]["environment"]
    assert environment in shipped()
    assert metadata["kernelspec"]["name"] == ("python3" if environment == "base" else environment)


@pytest.mark.timeout(1500)
def test_the_instrument_noise_agrees_with_the_mission_requirement(run: Run) -> None:
    done = run(share_path("notebooks", "01-lisa-instrument-noise.ipynb"))

    rows = re.findall(r"^ *(\d+) – +(\d+) +([\d.]+) ± ([\d.]+)$", printed(done, "ratios"), re.MULTILINE)
    assert len(rows) == 5
    for _low, _high, ratio, error in rows:
        assert abs(float(ratio) - 1) < 0.15
        assert 0.001 < float(error) < 0.1
    assert "agrees with the model" in printed(done, "check")
    assert "2 workers" in printed(done, "cluster") or os.cpu_count() == 1

    check_figure(done, "plot")
    assert "noise.csv, noise.png" in printed(done, "save")
    assert not [
        cell["id"] for cell in done["cells"] for output in cell.get("outputs", []) if output.get("name") == "stderr"
    ]


@pytest.mark.timeout(900)
def test_a_peak_of_work_is_absorbed_and_its_results_are_right(run: Run) -> None:
    done = run(share_path("notebooks", "02-absorb-a-peak.ipynb"))

    seen = re.findall(
        r"(\d+) s +workers: (\d+) on queue, (\d+) on cloud; (\d+) waiting in the queue; cost ([\d.]+); (\d+) days",
        printed(done, "watch"),
    )
    looks = [(int(queue), int(cloud), int(waiting)) for _s, queue, cloud, waiting, _cost, _days in seen]
    assert (0, 2, 1) in looks, "machines work while the queue is full"
    assert int(seen[-1][-1]) == 120
    assert "asked of the queue, which is free of charge" in printed(done, "explain")
    assert "no queue takes" in printed(done, "explain")
    assert "0 workers are left" in printed(done, "shrink")
    cost = re.search(r"Cost: ([\d.]+) of 0.5", printed(done, "shrink"))
    assert cost
    assert 0.0 < float(cost[1]) < 0.05
    levels = dict(re.findall(r"^([AN]) = ([\d.]+) ±", printed(done, "check"), re.MULTILINE))
    assert float(levels["A"]) == pytest.approx(1.74, rel=0.01)
    assert float(levels["N"]) == pytest.approx(34.8, rel=0.01)
    assert "agrees with what was put in" in printed(done, "check")
    check_figure(done, "plot")
    assert "days.csv, peak.png" in printed(done, "save")

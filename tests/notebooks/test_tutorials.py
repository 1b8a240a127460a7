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

from springtide.environments.catalog import shipped
from springtide.environments.engine import connect
from springtide.environments.host import jupyter_path, prepare_host_environment
from springtide.errors import EngineError
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
            environment, ["python", "-c", RUNNER.read_text(encoding="utf-8")], stdin=text, seconds=LONGEST_S * 2
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

    figures = [output["data"]["image/png"] for output in outputs(done, "plot") if "data" in output]
    assert len(figures) == 1
    picture = base64.b64decode(figures[0])
    assert picture.startswith(PNG_START)
    assert len(picture) > 20_000
    assert "noise.csv, noise.png" in printed(done, "save")
    assert not [
        cell["id"] for cell in done["cells"] for output in cell.get("outputs", []) if output.get("name") == "stderr"
    ]

"""Runs inside the session image, with a session's limits: `pytest tests/kernels` starts it there."""

import importlib.metadata
import os
import re
import subprocess
import sys
import time
import unittest
import urllib.request
from pathlib import Path

from dask.distributed import Client, LocalCluster
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

RECIPE = Path(__file__).parents[1]
PROCESS = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"


class Session(unittest.TestCase):
    def test_runs_as_a_user_without_any_right(self) -> None:
        assert (os.getuid(), os.getgid()) == (1000, 1000)
        assert int(PROCESS["CapEff"], 16) == int(PROCESS["CapBnd"], 16) == 0
        assert PROCESS["NoNewPrivs"].strip() == "1"

    def test_writes_to_its_home_and_tmp_only(self) -> None:
        assert os.environ["HOME"] == "/home/jovyan"
        for folder in (Path.home(), Path("/tmp")):
            (folder / "written").write_text("yes")
        for folder in ("/etc", "/opt/session", "/usr/local"):
            assert not _can_write(Path(folder, "written")), folder

    def test_has_no_docker_socket(self) -> None:
        assert not Path("/var/run/docker.sock").exists()

    def test_keeps_nothing_of_the_build(self) -> None:
        assert not Path("/tmp/build").exists()
        assert not {"PIP_CERT", "SSL_CERT_FILE", "PIP_INDEX_URL"} & os.environ.keys()
        assert not list(Path("/usr/local/share/ca-certificates").iterdir())

    def test_has_exactly_the_locked_packages(self) -> None:
        lock = (RECIPE / "requirements.lock").read_text()
        locked = {
            _canonical(name): version for name, version in re.findall(r"^([\w.-]+)==([^ ;]+)", lock, re.MULTILINE)
        }
        installed = {_canonical(one.name): one.version for one in importlib.metadata.distributions()}
        assert {name: version for name, version in installed.items() if name not in ("pip", "setuptools")} == locked

    def test_starts_the_hubs_server_program(self) -> None:
        version = subprocess.run(["jupyterhub-singleuser", "--version"], capture_output=True, text=True, check=True)
        assert version.stdout.strip() == importlib.metadata.version("jupyterhub")

    def test_serves_jupyterlab(self) -> None:
        options = ["--no-browser", "--port=8888", "--IdentityProvider.token=secret"]
        with subprocess.Popen(["jupyter", "lab", *options], stderr=subprocess.DEVNULL) as server:
            try:
                assert "JupyterLab" in _page("http://127.0.0.1:8888/lab?token=secret")
            finally:
                server.terminate()

    def test_its_own_kernel_plots(self) -> None:
        notebook = new_notebook(cells=[new_code_cell(PLOT)])
        NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
        assert any("image/png" in output.get("data", {}) for output in notebook.cells[0].outputs)

    def test_dask_workers_compute(self) -> None:
        with (
            LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            assert client.submit(sum, [1, 2, 3]).result(timeout=60) == 6

    def test_has_the_tools_people_expect_in_a_terminal(self) -> None:
        for tool in ("git", "less", "nano", "ps"):
            assert subprocess.run([tool, "--version"], capture_output=True, check=False).returncode == 0, tool


def _can_write(file: Path) -> bool:
    try:
        file.write_text("")
    except OSError:
        return False
    return True


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _page(url: str, seconds: float = 60) -> str:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url) as answer:
                return str(answer.read(), "utf-8")
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


if __name__ == "__main__":
    sys.exit(unittest.main())

"""Runs inside the LISA image, with a session's limits: `pytest tests/kernels` starts it there."""

import json
import re
import subprocess
import unittest
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

RECIPE = Path(__file__).parents[1]
PYTHON = "/opt/environments/lisa/bin/python"
INSTALLED = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
SIMULATE = """
from lisainstrument import Instrument, SchedulerConfigSerial
from pytdi import Data
from pytdi.michelson import X2
import numpy as np

instrument = Instrument(size=4000, seed=1)
instrument.disable_all_noises(excluding=["oms", "test-mass"])
data = Data.from_instrument(instrument.export_numpy_full(SchedulerConfigSerial(4000)))
x2 = X2.build(**data.args)(data.measurements)[1000:] / instrument.central_freq
print(np.isfinite(x2).all(), 1e-21 < x2.std() < 1e-17)
"""
ORBITS = """
from lisaorbits import KeplerianOrbits
print(abs(KeplerianOrbits().compute_ltt([0.0], [12]) - 8.34).max() < 0.1)
"""
WORKERS = """
import dask
print(dask.config.get("distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_"))
"""


class Lisa(unittest.TestCase):
    def test_its_kernel_is_offered_beside_the_sessions_own(self) -> None:
        kernels = KernelSpecManager()
        assert set(kernels.find_kernel_specs()) == {"python3", "lisa"}
        spec = kernels.get_kernel_spec("lisa")
        assert (spec.display_name, spec.argv[0]) == ("LISA", PYTHON)
        assert spec.metadata["springtide"] == {"environment": "lisa"}

    def test_has_exactly_the_locked_packages(self) -> None:
        lock = (RECIPE / "requirements.lock").read_text()
        names = {_canonical(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
        answer = subprocess.run([PYTHON, "-c", INSTALLED], capture_output=True, text=True, check=True)
        assert {_canonical(name) for name in json.loads(answer.stdout)} - {"pip", "setuptools"} == names

    def test_its_packages_agree_with_each_other(self) -> None:
        subprocess.run([PYTHON, "-m", "pip", "check"], check=True)

    def test_brings_no_deep_learning_framework(self) -> None:
        answer = subprocess.run([PYTHON, "-c", INSTALLED], capture_output=True, text=True, check=True)
        assert not {"torch", "lisaglitch"} & json.loads(answer.stdout).keys()

    def test_the_kernel_simulates_noise_and_combines_it(self) -> None:
        assert _output_of(SIMULATE).splitlines()[-1] == "True True"

    def test_the_kernel_computes_orbits(self) -> None:
        assert _output_of(ORBITS) == "True"

    def test_dask_workers_keep_freed_memory_for_the_next_array(self) -> None:
        assert _output_of(WORKERS) == str(32 * 2**20)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _output_of(code: str) -> str:
    """Return what `code` prints in the kernel."""
    notebook = new_notebook(cells=[new_code_cell(code)])
    NotebookClient(notebook, timeout=120, kernel_name="lisa").execute()
    return "".join(output.text for output in notebook.cells[0].outputs if output.get("name") == "stdout").strip()

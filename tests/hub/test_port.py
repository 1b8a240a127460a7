"""batchspawner's port handler, through which a session could run code in the hub, is gone whatever is imported when."""

import subprocess
import sys

import pytest

SHOW = """
from jupyterhub.apihandlers import default_handlers
print([entry[1].__module__ for entry in default_handlers if entry[0] == "/api/batchspawner"])
"""
IMPORTS = {
    "alone": "import springtide.hub",
    "batchspawner before": "import batchspawner, springtide.hub",
    "batchspawner after": "import springtide.hub, batchspawner",
    "any module of ours": "import springtide.hub.words, batchspawner.api",
    "the configuration": "import batchspawner, springtide.hub.config",
    "twice": "import springtide.hub; springtide.hub.replace_port_handler()",
}


@pytest.mark.parametrize("imports", IMPORTS.values(), ids=IMPORTS)
def test_importing_the_hub_leaves_only_our_port_handler(imports: str) -> None:
    # An interpreter of its own: what is registered depends on what was imported before.
    command = [sys.executable, "-c", imports + SHOW]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "['springtide.hub.port']"

"""JupyterHub's configuration: everything comes from the lab file (SPRINGTIDE_LAB, else lab.yaml beside this file).

Settings of your own may follow the call; they win over the lab file's.
"""

from springtide.hub.config import configure

c = get_config()  # noqa: F821  # JupyterHub provides it
configure(c)

"""The hub's side: spawners, spawn page, gallery, configuration. Imports everything below it, is imported by ``cli``.

Importing this package replaces batchspawner's port handler (see `springtide.hub.port`): importing batchspawner alone
registers a handler through which any session can run code as the hub's account, whichever spawner is in use.
"""

from springtide.hub.port import replace_port_handler

replace_port_handler()

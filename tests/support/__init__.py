"""Real services for tests: each module starts one, says when it is ready, and stops what it started.

Nothing here is imported by the package. The fixtures in ``tests/conftest.py`` are the usual way in.
"""

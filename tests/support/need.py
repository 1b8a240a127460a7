"""What a test needs of the machine: skip where it is missing, fail where nothing may be skipped."""

from __future__ import annotations

import os

import pytest

INSTALL_HINT = "sudo .ci/setup-system test"


def nothing_may_be_skipped() -> bool:
    return os.environ.get("SPRINGTIDE_REQUIRE_ALL") == "1"


def require(name: str, found: object, hint: str = INSTALL_HINT, *, always_optional: bool = False) -> None:
    """Skip the test unless `found` is true, saying that `name` is missing and `hint` gets it.

    With SPRINGTIDE_REQUIRE_ALL=1 the test fails instead, except for parts that no machine can install
    by itself (`always_optional`: OpenPBS, cloud accounts).
    """
    if found:
        return
    message = f"needs {name}: {hint}"
    if nothing_may_be_skipped() and not always_optional:
        pytest.fail(message, pytrace=False)
    pytest.skip(message)

"""Image references are read as Docker reads them."""

from __future__ import annotations

import pytest

from springtide.environments.registry.reference import Reference, names_a_registry, parse_reference
from springtide.errors import EnvironmentsError

DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("debian", Reference("docker.io", "library/debian")),
        ("debian:12-slim", Reference("docker.io", "library/debian", "12-slim")),
        ("springtide/base:1", Reference("docker.io", "springtide/base", "1")),
        ("registry.lab.fr/lpf/ltpda:3", Reference("registry.lab.fr", "lpf/ltpda", "3")),
        ("localhost/x", Reference("localhost", "x")),
        ("127.0.0.1:5443/a/b/c", Reference("127.0.0.1:5443", "a/b/c")),
        (f"r.fr/x:1@{DIGEST}", Reference("r.fr", "x", "1", DIGEST)),
        (f"r.fr/x@{DIGEST}", Reference("r.fr", "x", "", DIGEST)),
    ],
)
def test_a_reference_says_registry_repository_and_image(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert parse_reference(str(reference)) in (reference, Reference(reference.host, reference.repository, "latest"))


@pytest.mark.parametrize(
    "text", ["", "A/b", "a b", "r.fr/../x", "r.fr/x:", "x@sha256:12", "-x", "r.fr:x/y", "https://r.fr/x"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(EnvironmentsError, match="is no image reference"):
        parse_reference(text)


def test_the_digest_decides_which_image_is_meant() -> None:
    assert parse_reference(f"r.fr/x:1@{DIGEST}").which == DIGEST
    assert parse_reference("r.fr/x:1").which == "1"
    assert parse_reference("r.fr/x").which == "latest"


def test_only_a_named_registry_counts_as_one() -> None:
    assert [names_a_registry(text) for text in ("r.fr/x", "localhost/x", "h:5/x", "springtide/base:1", "x")] == [
        True,
        True,
        True,
        False,
        False,
    ]

"""What is in an image, how two differ, and whether two processes run the same one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import springtide.environments
from springtide.environments.inventory import inventory
from springtide.environments.packages import Difference, Package, Packages, differences, same_image, this_image
from springtide.errors import DifferentImages

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
OLD = Packages({"lisa": {"numpy": Package("1.26"), "dask": Package("2025.3.0")}}, {"libc6": "2.36"})
NEW = Packages({"lisa": {"numpy": Package("2.3"), "dask": Package("2025.3.0")}, "lpf": {"emcee": Package("3.1")}}, {})


def install(root: Path, site: str, name: str, *metadata: str) -> None:
    folder = root / site / f"{name}.dist-info"
    folder.mkdir(parents=True)
    folder.joinpath("METADATA").write_text("\n".join([f"Name: {name}", "Version: 1.0", *metadata, "", "long words"]))


def test_packages_are_found_by_kernel_and_environment(tmp_path: Path) -> None:
    install(tmp_path, "opt/session/lib/python3.11/site-packages", "Jupyter_Lab")
    (tmp_path / "opt/session/pyvenv.cfg").touch()
    install(tmp_path, "srv/deep/lpf/lib/python3.11/site-packages", "emcee")
    kernel = tmp_path / "opt/session/share/jupyter/kernels/lpf/kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": ["/srv/deep/lpf/bin/python", "-m", "x"]}))
    install(tmp_path, "usr/lib/python3/dist-packages", "six")
    found = inventory(str(tmp_path))["python"]
    assert {place: list(packages) for place, packages in found.items()} == {
        "lpf": ["emcee"],
        "session": ["jupyter-lab"],
        "system": ["six"],
    }


def test_only_installed_debian_packages_count(tmp_path: Path) -> None:
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: bash\nStatus: install ok installed\nVersion: 5.2-1\nDescription: x\n y\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
    )
    assert inventory(str(tmp_path)) == {"python": {}, "debian": {"bash": "5.2-1"}}


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        (("License-Expression: BSD-3-Clause", "License: other"), "BSD-3-Clause"),
        (("Classifier: License :: OSI Approved :: MIT License", "License: other"), "MIT License"),
        (("Classifier: License :: OSI Approved", "License: Apache 2.0"), "Apache 2.0"),
        (("License: A very long text\n        in many lines",), "A very long text"),
        ((), "unknown"),
    ],
)
def test_a_licence_is_said_in_a_few_words(metadata: tuple[str, ...], licence: str, tmp_path: Path) -> None:
    install(tmp_path, "usr/lib/python3/dist-packages", "six", *metadata)
    assert inventory(str(tmp_path))["python"]["system"]["six"] == ["1.0", licence]


def test_what_is_written_is_read_again() -> None:
    assert Packages.from_json(json.loads(json.dumps(NEW.as_json()))) == NEW


def test_two_images_differ_by_these_packages() -> None:
    assert differences(OLD, OLD) == []
    assert differences(OLD, NEW) == [
        Difference("lisa", "numpy", "1.26", "2.3"),
        Difference("lpf", "emcee", "", "3.1"),
        Difference("debian", "libc6", "2.36", ""),
    ]


def test_one_digest_is_one_image() -> None:
    same_image(A, OLD, A, OLD)
    same_image("", OLD, "", OLD)


def test_another_digest_is_refused_with_the_packages_that_differ() -> None:
    with pytest.raises(DifferentImages) as refused:
        same_image(A, OLD, B, NEW)
    assert refused.value.message == (
        "The images are not the same: sha256:aaaaaaaaaaaa and sha256:bbbbbbbbbbbb. Packages that differ: "
        "numpy (lisa): 1.26 and 2.3; emcee (lpf): absent and 3.1; libc6 (debian): 2.36 and absent."
    )


def test_many_differences_are_counted() -> None:
    many = Packages({"x": {f"p{number}": Package("1") for number in range(40)}})
    with pytest.raises(DifferentImages, match="; and 34 more"):
        same_image(A, Packages(), B, many)


def test_images_whose_packages_are_alike_are_still_two() -> None:
    with pytest.raises(DifferentImages, match="Their packages are the same"):
        same_image(A, OLD, B, OLD)


def test_without_an_image_the_packages_decide() -> None:
    with pytest.raises(DifferentImages, match="no image and no image"):
        same_image("", OLD, "", NEW)


def test_a_process_says_what_image_it_runs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINGTIDE_IMAGE_DIGEST", A)
    here = springtide.environments.this_image()
    assert here.digest == A
    assert "pytest" in {name for packages in here.packages.python.values() for name in packages}


def test_a_process_without_an_image_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPRINGTIDE_IMAGE_DIGEST", raising=False)
    assert this_image().digest == ""

"""``springtide check`` and ``springtide schema`` as an administrator runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from springtide.cli.check import check, schema
from springtide.share import share_path

LAB_FILES = [share_path("hub_config", "lab.yaml"), *sorted(share_path("hub_config", "examples").glob("*.yaml"))]


@pytest.mark.parametrize("file", LAB_FILES, ids=lambda file: file.stem)
def test_a_shipped_lab_file_passes(file: Path) -> None:
    result = CliRunner().invoke(check, [str(file)])
    assert (result.exit_code, result.stderr) == (0, "")


def test_the_summary_says_in_words_what_the_lab_offers() -> None:
    result = CliRunner().invoke(check, [str(share_path("hub_config", "examples", "pbspro.yaml"))])
    assert "cluster: batch queue (pbspro)" in result.stdout
    assert (
        "on cluster, environment base; 4 cores (from 1 to 32); memory 16G (from 512M to 128G); "
        "time 12 h (from 1 min to 3 d); queue short or long; for lisa, lpf only"
    ) in result.stdout


def test_a_site_without_profile_is_mentioned(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("springtide: 1\nsites: {a: {kind: local}, b: {kind: slurm}}\nprofiles: [{name: x, site: a}]\n")
    assert "No profile uses: b." in CliRunner().invoke(check, [str(file)]).stdout


def test_json_says_what_the_lab_offers() -> None:
    result = CliRunner().invoke(check, ["--json", str(LAB_FILES[0])])
    found = json.loads(result.stdout)
    assert found["ok"] is True
    assert [profile["name"] for profile in found["profiles"]] == ["container", "lisa", "process", "batch"]
    assert found["profiles"][0]["memory"] == {"default": 2**30, "min": 2**29, "max": 2**32}


def test_json_tells_no_values_of_variables(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(
        "springtide: 1\nsites: {a: {kind: local, environment_variables: {KEY: hunter2}}}\n"
        "profiles: [{name: x, site: a}]\n"
    )
    stdout = CliRunner().invoke(check, ["--json", str(file)]).stdout
    assert json.loads(stdout)["sites"]["a"]["environment_variables"] == ["KEY"]
    assert "hunter2" not in stdout


def test_json_tells_the_faults_too(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("springtide: 1\nsites: {a: {kind: local}}\nprofiles: [{name: x, site: b}]\n")
    result = CliRunner().invoke(check, ["--json", str(file)])
    assert result.exit_code == 2
    [problem] = json.loads(result.stdout)["problems"]
    assert (problem["line"], problem["key"], problem["allowed"]) == (3, "profiles[0].site", "a")
    assert "profiles[0].site" in result.stderr


def test_schema_prints_json() -> None:
    result = CliRunner().invoke(schema)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["title"] == "Springtide lab file"


def test_applications_are_checked_too(tmp_path: Path) -> None:
    apps = tmp_path / "mine" / "apps"
    apps.mkdir(parents=True)
    (apps / "fit.yaml").write_text("springtide: 1\nlabel: Fit\nresources: {cores: 0}\ncommand: [fit]\n")
    file = tmp_path / "lab.yaml"
    file.write_text(
        "springtide: 1\nsites: {a: {kind: local, runtime: host}}\nenvironments: {mine: {folder: mine}}\n"
        "profiles: [{name: x, site: a}]\n"
    )
    result = CliRunner().invoke(check, [str(file)])
    assert result.exit_code == 2
    assert f"{apps / 'fit.yaml'}:3: resources.cores" in result.stderr
    (apps / "fit.yaml").write_text("springtide: 1\nlabel: Fit\ncommand: [fit]\n")
    assert "mine/fit: Fit" in CliRunner().invoke(check, [str(file)]).stdout

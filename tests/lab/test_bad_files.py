"""Every kind of wrong lab file gets one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from springtide.cli.check import check
from springtide.errors import LabFileError
from springtide.lab.load import load_lab, parse_lab
from tests.lab.bad_files import BAD, RIGHT, Bad


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "lab.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_the_file_the_faults_are_added_to_is_right(tmp_path: Path) -> None:
    assert len(load_lab(write(tmp_path, RIGHT)).profiles) == 1


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_fault_is_named_once_with_its_place(bad: Bad, tmp_path: Path) -> None:
    file = write(tmp_path, bad.text)
    with pytest.raises(LabFileError) as caught:
        load_lab(file)
    [problem] = caught.value.problems
    assert (problem.file, problem.line, problem.key) == (str(file), bad.line, bad.key)
    assert bad.message in problem.message
    assert bad.found in problem.found
    assert bad.allowed in problem.allowed


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_the_command_tells_it_on_standard_error_and_ends_with_2(bad: Bad, tmp_path: Path) -> None:
    file = write(tmp_path, bad.text)
    result = CliRunner().invoke(check, [str(file)])
    assert (result.exit_code, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    assert line.startswith(f"{file}:{bad.line}: {bad.key}: ")
    assert bad.message in line
    assert isinstance(result.exception, SystemExit)


def test_all_faults_are_told_at_once_in_the_order_of_the_lines() -> None:
    text = (
        "springtide: 1\nhub: {port: 0}\nsites:\n  desk: {kind: local, pids: 1}\n  cluster: {kind: slurm, queue: a b}\n"
        "profiles:\n- {name: one, site: dsk, memory: 4}\n- {name: one, site: cluster, cpus: 0.5}\n"
        "- {name: two, site: desk, environment: lpf, walltime: 2h}\ntutorials: nowhere\n"
    )
    with pytest.raises(LabFileError) as caught:
        parse_lab(text, Path("lab.yaml"))
    assert [(problem.line, problem.key) for problem in caught.value.problems] == [
        (2, "hub.port"),
        (4, "sites.desk.pids"),
        (5, "sites.cluster.queue"),
        (7, "profiles[0].memory"),
        (7, "profiles[0].site"),
        (8, "profiles[1].cpus"),
        (8, "profiles[1].name"),
        (9, "profiles[2].environment"),
        (9, "profiles[2].walltime"),
        (10, "tutorials"),
    ]


def test_a_missing_file_is_an_error_of_line_1(tmp_path: Path) -> None:
    result = CliRunner().invoke(check, [str(tmp_path / "none.yaml")])
    assert result.exit_code == 2
    assert "none.yaml:1: the file: does not exist" in result.stderr


def test_a_folder_is_no_lab_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(check, [str(tmp_path)])
    assert result.exit_code == 2
    assert "is a folder" in result.stderr


def test_a_device_is_no_lab_file() -> None:
    with pytest.raises(LabFileError, match="too large"):
        load_lab(Path("/dev/zero"))


def test_a_link_to_itself_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").symlink_to("lab.yaml")
    with pytest.raises(LabFileError, match="cannot be read"):
        load_lab(tmp_path / "lab.yaml")


@pytest.mark.parametrize(
    "wrong",
    [
        "authentication: {kind: custom, class: x, options: {A: hunter2}}\n",
        "sites: {d: {kind: local, environment_variables: {A-B: hunter2}}}\n",
        "hub: {database: 'pg:/u:hunter2@host'}\n",
        "hub:\n  database: postgresql://u:hunter2@host: 3\n",
        "hub: {ledger: 'pg:/u:hunter2@host'}\n",
        "client_secret: hunter2: x\n",
    ],
)
def test_an_error_does_not_tell_secrets(wrong: str) -> None:
    with pytest.raises(LabFileError) as caught:
        parse_lab(wrong, Path("lab.yaml"))
    assert "hunter2" not in str(caught.value)


def test_thousands_of_values_through_aliases_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(LabFileError, match="at most 20000 values"):
        parse_lab("\n".join(lines), Path("lab.yaml"))

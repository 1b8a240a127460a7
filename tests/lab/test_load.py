"""What a right lab file becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from springtide.lab.load import load_lab, parse_lab
from springtide.lab.models import (
    BatchSite,
    CpuRange,
    Lab,
    LocalSite,
    MemoryRange,
    Profile,
    Text,
    WalltimeRange,
)
from springtide.share import share_path

GIB = 2**30
SMALLEST = "springtide: 1\nsites: {desk: {kind: local}, queue: {kind: slurm}}\nprofiles: [{name: one, site: desk}]\n"
LAB_FILES = [share_path("hub_config", "lab.yaml"), *sorted(share_path("hub_config", "examples").glob("*.yaml"))]


def load(text: str) -> Lab:
    return parse_lab(text, Path("/srv/lab/lab.yaml"))


def with_profile(rest: str) -> Profile:
    return load(SMALLEST.replace("site: desk", rest)).profiles[0]


@pytest.mark.parametrize("file", LAB_FILES, ids=lambda file: file.stem)
def test_every_shipped_lab_file_is_right(file: Path) -> None:
    assert load_lab(file).profiles


@pytest.mark.parametrize("file", LAB_FILES, ids=lambda file: file.stem)
def test_every_shipped_label_is_there_in_both_languages(file: Path) -> None:
    lab = load_lab(file)
    texts = [text for profile in lab.profiles for text in (profile.label, profile.description)]
    texts += [site.label for site in lab.sites.values()]
    assert all(text and text.en and text.fr for text in texts)


@pytest.mark.parametrize("file", LAB_FILES, ids=lambda file: file.stem)
def test_a_lab_written_out_and_read_again_is_the_same(file: Path) -> None:
    lab = load_lab(file)
    assert Lab.model_validate(lab.model_dump(by_alias=True)) == lab
    assert Lab.model_validate_json(lab.model_dump_json(by_alias=True)) == lab


def test_the_default_lab_offers_its_profiles_in_order() -> None:
    lab = load_lab(LAB_FILES[0])
    assert [(profile.name, profile.site, profile.environment) for profile in lab.profiles] == [
        ("container", "containers", "base"),
        ("lisa", "containers", "lisa"),
        ("process", "machine", "base"),
        ("batch", "cluster", "base"),
    ]
    assert [name for name, site in lab.sites.items() if site.optional] == ["containers", "cluster"]


def test_left_out_parts_have_their_defaults() -> None:
    lab = load(SMALLEST)
    assert lab == load(SMALLEST + "lab:\nhub: {}\nauthentication: {kind: shared-password}\nenvironments:\n")
    assert (lab.hub.address, lab.hub.port, lab.hub.idle_timeout) == ("127.0.0.1", 8000, 10800)
    assert lab.authentication.kind == "shared-password"


def test_a_shipped_environment_brings_its_recipe() -> None:
    assert load(SMALLEST).environments["base"].folder == share_path("kernels", "base")


def test_an_environment_that_names_an_image_is_not_built_from_the_shipped_recipe() -> None:
    base = load(SMALLEST + "environments: {base: {image: 'registry.lab/base:2'}}").environments["base"]
    assert (base.image, base.folder) == ("registry.lab/base:2", None)


def test_relative_paths_start_at_the_lab_file(tmp_path: Path) -> None:
    for folder in ("recipes/mine", "lessons", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    file = tmp_path / "lab.yaml"
    file.write_text(
        "springtide: 1\ntutorials: lessons\nenvironments: {mine: {folder: ./recipes/mine}}\n"
        "sites: {queue: {kind: slurm, commands: bin}}\nprofiles: [{name: one, site: queue}]\n"
    )
    lab = load_lab(file)
    site = lab.sites["queue"]
    assert isinstance(site, BatchSite)
    assert [lab.tutorials, lab.environments["mine"].folder, site.commands] == [
        tmp_path / "lessons",
        tmp_path / "recipes" / "mine",
        tmp_path / "bin",
    ]


def test_a_relative_lab_file_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lessons").mkdir()
    (tmp_path / "lab.yaml").write_text(SMALLEST + "tutorials: lessons\n")
    monkeypatch.chdir(tmp_path)
    assert load_lab(Path("lab.yaml")).tutorials == tmp_path / "lessons"


def test_an_optional_site_may_lack_its_commands() -> None:
    lab = load(SMALLEST.replace("kind: slurm", "kind: slurm, optional: true, commands: /opt/none/bin"))
    assert lab.sites["queue"].optional


def test_the_home_folder_may_be_meant_by_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert load(SMALLEST + "hub: {state_directory: ~/hub}").hub.state_directory == Path("/home/ann/hub")


def test_a_batch_profile_always_has_a_walltime() -> None:
    assert with_profile("site: queue").walltime == WalltimeRange(default=7200, min=60, max=43200)
    assert with_profile("site: desk").walltime is None


@pytest.mark.parametrize(
    ("written", "default", "low", "high"),
    [
        ("2", 2, 2, 2),
        ("0.5", 0.5, 0.5, 0.5),
        ("{max: 8}", 1, 1, 8),
        ("{max: 0.5}", 0.5, 0.5, 0.5),
        ("{default: 4}", 4, 1, 4),
        ("{min: 2, max: 8}", 2, 2, 8),
        ("{default: 0.5, max: 2}", 0.5, 0.5, 2),
        ("", 1, 1, 1),
    ],
)
def test_cpus_may_be_written_short(written: str, default: float, low: float, high: float) -> None:
    assert with_profile(f"site: desk, cpus: {written}").cpus == CpuRange(default=default, min=low, max=high)


@pytest.mark.parametrize(
    ("written", "default", "low", "high"),
    [
        ("4G", 4 * GIB, 4 * GIB, 4 * GIB),
        ("{max: 1G}", GIB, GIB // 2, GIB),
        ("{max: 256M}", GIB // 4, GIB // 4, GIB // 4),
        ("{max: 16G}", 2 * GIB, GIB // 2, 16 * GIB),
        ("{default: 8G}", 8 * GIB, GIB // 2, 8 * GIB),
        ("{min: 4G}", 4 * GIB, 4 * GIB, 4 * GIB),
        ("{min: 1G, max: 8G}", 2 * GIB, GIB, 8 * GIB),
    ],
)
def test_memory_may_be_written_short(written: str, default: int, low: int, high: int) -> None:
    assert with_profile(f"site: desk, memory: {written}").memory == MemoryRange(default=default, min=low, max=high)


@pytest.mark.parametrize(
    ("written", "default", "low", "high"),
    [
        ("12:00:00", 43200, 43200, 43200),
        ("1h", 3600, 3600, 3600),
        ("{max: 1h}", 3600, 60, 3600),
        ("{default: 1d}", 86400, 60, 86400),
        ("{min: 4h, max: 2d}", 14400, 14400, 172800),
    ],
)
def test_walltimes_may_be_written_short(written: str, default: int, low: int, high: int) -> None:
    walltime = with_profile(f"site: queue, walltime: {written}").walltime
    assert walltime == WalltimeRange(default=default, min=low, max=high)


def test_a_label_may_be_one_text_for_both_languages() -> None:
    assert with_profile("site: desk, label: Bureau").label == Text(en="Bureau", fr="")


def test_models_may_be_built_from_models() -> None:
    profile = Profile(name="one", site="desk", memory=MemoryRange(min=GIB, default=GIB, max=GIB), cpus=CpuRange(max=2))
    assert profile.memory.max == GIB


def test_no_means_the_text_no() -> None:
    lab = load(SMALLEST + "lab: {name: no}\nauthentication: {admins: [on, y, no]}")
    assert lab.lab.name == "no"
    assert lab.authentication.admins == {"on", "y", "no"}


def test_yes_is_understood_where_a_choice_is_asked_for() -> None:
    assert load(SMALLEST.replace("kind: slurm", "kind: slurm, optional: yes")).sites["queue"].optional


def test_leading_zeros_are_kept() -> None:
    site = load(SMALLEST.replace("kind: slurm", "kind: slurm, account: 007")).sites["queue"]
    assert isinstance(site, BatchSite)
    assert site.account == "007"


def test_a_number_may_be_the_value_of_a_variable() -> None:
    lab = load(SMALLEST.replace("{kind: local}", "{kind: local, environment_variables: {OMP_NUM_THREADS: 2}}"))
    assert lab.sites["desk"].environment_variables == {"OMP_NUM_THREADS": "2"}


def test_parts_may_be_shared_by_anchors_and_merged() -> None:
    lab = load(
        "springtide: 1\nsites:\n  a: &site {kind: local, pids: 100}\n  b: {<<: *site, pids: 200}\n  c: *site\n"
        "profiles: [{name: one, site: b}]\n"
    )
    pids = [site.pids for site in lab.sites.values() if isinstance(site, LocalSite)]
    assert pids == [100, 200, 100]


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_bytes(b"\xef\xbb\xbf---\r\n" + SMALLEST.replace("\n", "\r\n").encode())
    assert load_lab(tmp_path / "lab.yaml") == load(SMALLEST)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_a_shared_password_is_for_loopback(address: str) -> None:
    assert load(SMALLEST + f"hub: {{address: '{address}'}}").hub.address == address


def test_accounts_of_the_machine_may_log_in_from_elsewhere() -> None:
    assert load(SMALLEST + "hub: {address: 0.0.0.0}\nauthentication: {kind: pam}").hub.address == "0.0.0.0"


@pytest.mark.parametrize(
    "image",
    ["python", "lab/base:1.0", "localhost:5000/lab/base", "registry.lab.fr/a/b_c/d-e:v1.2_3@sha256:" + "0a" * 32],
)
def test_image_references_of_all_forms_are_understood(image: str) -> None:
    assert load(SMALLEST + f"environments: {{mine: {{image: '{image}'}}}}").environments["mine"].image == image

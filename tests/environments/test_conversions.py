"""The cache of converted images: each once however many ask, whole however its converter ends, and within its limit."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from springtide.environments.conversions import ConversionCache, FromRegistry
from springtide.environments.conversions.saved import FromEngine
from springtide.environments.registry.login import Access
from springtide.environments.registry.reference import Reference, parse_reference
from springtide.environments.registry.transfer import push
from springtide.environments.runtimes import Form
from springtide.errors import EnvironmentsError, RegistryUnreachable
from tests.support.conversions import Conversions
from tests.support.docker_engine import DockerEngine
from tests.support.network import free_port
from tests.support.registry import RunningRegistry, tiny_image
from tests.support.waiting import wait_until

FORTY = 40


def ignore(line: str) -> None:
    pass


def pushed(engine: DockerEngine, registry: RunningRegistry, mark: str) -> str:
    with tiny_image(engine.client, f"converted:{mark}", mark) as image:
        sent = push(engine.client, image, Reference(registry.host, "test/converted", mark), registry.access, ignore)
    return str(sent.reference.at(sent.digest))


@pytest.fixture(scope="module")
def images(docker_engine: DockerEngine, registry: RunningRegistry) -> list[str]:
    return [pushed(docker_engine, registry, mark) for mark in ("one", "two", "three")]


@pytest.fixture
def conversions(tmp_path: Path, registry: RunningRegistry, images: list[str]) -> Conversions:
    return Conversions(tmp_path, registry, images[0])


def test_forty_that_ask_for_an_image_at_once_make_one_conversion(conversions: Conversions) -> None:
    processes = [conversions.start() for _ in range(FORTY)]
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * FORTY, answers
    (image,) = {Path(out.strip()) for out, _ in answers}
    (entry,) = ConversionCache(conversions.cache).entries()
    assert (conversions.count, entry.image, entry.problem(thorough=True)) == (1, image, "")
    assert conversions.left == []


def test_a_converter_that_is_killed_leaves_nothing_that_hinders_the_next(conversions: Conversions) -> None:
    conversions.hold()
    first = conversions.start()
    wait_until(lambda: conversions.count == 1, 60, "the first converts")
    second = conversions.start()
    assert second.stderr is not None
    said = [second.stderr.readline()]
    assert said[0].startswith("waiting: it is being converted on ")
    first.kill()
    first.communicate()
    conversions.go_on()
    out, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    (entry,) = ConversionCache(conversions.cache).entries()
    assert (str(entry.image), conversions.count, conversions.left) == (out.strip(), 2, [])
    assert list((conversions.folder / "scratch").iterdir()) == []


def test_forty_that_wait_for_one_that_fails_fail_with_it(conversions: Conversions) -> None:
    conversions.hold()
    processes = [conversions.start() for _ in range(4)]
    for process in processes:
        assert process.stderr is not None
        assert process.stderr.readline()
    wait_until(lambda: conversions.count == 1, 60, "one converts")
    (conversions.folder / "fail").touch()
    conversions.go_on()
    answers = [process.communicate() for process in processes]
    assert all("Its last lines:\nINFO: one\nFATAL: it does not work" in errors for _, errors in answers), answers
    assert conversions.count == 1
    (conversions.folder / "fail").unlink()
    assert conversions.have().exists()


def test_a_truncated_and_a_changed_image_are_noticed_and_made_again(conversions: Conversions) -> None:
    image = conversions.have()
    before = image.stat().st_size
    os.truncate(image, before // 2)
    assert conversions.have() == image
    assert image.stat().st_size == before
    with image.open("r+b") as file:
        file.seek(before // 2)
        file.write(b"changed")
    assert conversions.have() == image
    assert conversions.count == 3
    (entry,) = ConversionCache(conversions.cache).entries()
    assert entry.problem(thorough=True) == ""
    assert conversions.have() == image
    assert conversions.count == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
@pytest.mark.parametrize("full", ["cache", "scratch"])
def test_a_full_disk_is_said_and_the_images_that_are_there_stay(
    conversions: Conversions, images: list[str], full: str
) -> None:
    conversions.cache.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=1700k,mode=0755", "tmpfs", str(conversions.folder / full)]
    subprocess.run(small, check=True)
    try:
        if full == "cache":
            conversions.have()
        else:
            (conversions.folder / "scratch" / "filling").write_bytes(bytes(1_300_000))
        said = conversions.refusal(reference=images[1])
        assert "A disk is full" in said
        assert "springtide env cache" in said
        entries = ConversionCache(conversions.cache).entries()
        assert [entry.problem(thorough=True) for entry in entries] == [""] * (full == "cache")
        assert [name for name in conversions.left if not name.endswith(".failed")] == []
    finally:
        subprocess.run(["umount", str(conversions.folder / full)], check=True)


def test_what_was_not_used_for_longest_makes_room_and_what_is_in_use_stays(
    conversions: Conversions, images: list[str]
) -> None:
    one, two, three = images
    first = conversions.have(reference=one, use="job-1")
    second = conversions.have(reference=two)
    size = first.stat().st_size + second.stat().st_size
    conversions.limit_bytes = size + 1000
    third = conversions.have(reference=three, use="job-3")
    assert [path.exists() for path in (first, second, third)] == [True, False, True]
    assert "has room for" in conversions.refusal(reference=two)
    assert "the rest is in use" in conversions.refusal(reference=two)

    cache = ConversionCache(conversions.cache, conversions.limit_bytes, is_over=lambda name: name == "job-1")
    assert [entry.image for entry in cache.entries() if cache.remove(entry)] == [first]
    assert conversions.have(reference=two) == second


def test_a_mark_holds_until_its_time_is_over(conversions: Conversions) -> None:
    conversions.have(use="short")
    cache = ConversionCache(conversions.cache)
    (entry,) = cache.entries()
    assert entry.uses() == ["short"]
    assert not cache.remove(entry)
    assert entry.mark("short", 0.2)
    time.sleep(0.3)
    assert cache.remove(entry)
    assert not entry.mark("late")


def test_a_registry_that_is_down_is_said_and_a_pinned_image_needs_none(
    conversions: Conversions, images: list[str]
) -> None:
    image = conversions.have()
    there = ConversionCache(conversions.cache).find_made_from("", Form.SIF, images[0].rpartition("@")[2])
    assert there is not None
    assert there.image == image
    nobody = parse_reference(f"127.0.0.1:{free_port()}/test/converted:two")
    with pytest.raises(RegistryUnreachable, match="does not answer"):
        FromRegistry(nobody, Access())
    assert there.problem(thorough=True) == ""


class BreaksOff:
    """An image whose registry goes away while it is fetched."""

    digest, reference, pinned, size_bytes = f"sha256:{'0' * 64}", "registry.lab/gone:1", "", 0

    def fetch(self, folder: Path, progress: Callable[[str], None]) -> None:
        (folder / "blobs").mkdir(parents=True)
        raise RegistryUnreachable("The registry registry.lab does not answer: it is gone.")


def test_a_registry_that_breaks_off_leaves_the_cache_as_it_was(tmp_path: Path) -> None:
    cache = ConversionCache(tmp_path / "cache")
    with pytest.raises(RegistryUnreachable, match="does not answer"):
        cache.have(BreaksOff(), Form.FOLDER, ignore)
    assert (cache.entries(), list(cache.folder.glob(".new-*")), list(cache.folder.glob("*.claim"))) == ([], [], [])


def test_a_folder_has_what_the_image_has_and_missing_files_are_noticed(conversions: Conversions) -> None:
    root = conversions.have("folder")
    assert (root / "mark").read_text() == "one"
    shell = subprocess.run(
        ["chroot", str(root), "/bin/cat", "/mark"] if os.geteuid() == 0 else ["cat", str(root / "mark")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert shell.stdout == "one"
    (entry,) = ConversionCache(conversions.cache).entries()
    assert (entry.about.form, entry.problem(thorough=True), conversions.count) == ("folder", "", 0)
    (root / "bin" / "cat").unlink()
    assert entry.problem(thorough=True) == "files are missing or changed"


def test_an_image_of_the_engine_has_the_same_digest_as_that_of_the_registry(
    conversions: Conversions, docker_engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(conversions.folder / "scratch"))
    for name, value in docker_engine.environment.items():
        monkeypatch.setenv(name, value)
    with tiny_image(docker_engine.client, "converted:engine", "engine") as image:
        there = push(
            docker_engine.client,
            image,
            Reference(conversions.registry.host, "test/engine", "1"),
            conversions.registry.access,
            ignore,
        )
        entry = ConversionCache(tmp_path / "own").have(FromEngine(image), Form.FOLDER, ignore)
        with pytest.raises(EnvironmentsError, match="There is no image"):
            FromEngine("springtide-test/nobody:1")
    assert entry.about.digest == there.image
    assert (entry.image / "mark").read_text() == "engine"


def test_a_cache_that_everyone_may_write_to_is_refused(conversions: Conversions) -> None:
    conversions.cache.mkdir()
    conversions.cache.chmod(0o777)
    assert "Everyone may write to the image cache" in conversions.refusal()

"""Where a ledger lies, and on what."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.hub.state import default_state_directory
from springtide.lab.models import Lab
from springtide.ledger import engine
from springtide.ledger.filesystem import is_shared
from springtide.ledger.place import file_of, ledger_path, ledger_url, own_ledger_url, state_directory
from springtide.ledger.store import Ledger
from tests.e2e.labs import process_lab
from tests.ledger.make import job

NOBODY = 65534
POSTGRES = "postgresql://lab@db/springtide"


@pytest.fixture
def hubs() -> Iterator[Path]:
    """Yield a state directory of root's, seen by an ordinary account."""
    if os.geteuid() != 0:
        pytest.skip("an ordinary account has no other one's folder")
    folder = Path(tempfile.mkdtemp(prefix="springtide-state-", dir="/tmp"))
    folder.chmod(0o711)
    os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


def test_what_the_lab_file_says_comes_first(tmp_path: Path) -> None:
    assert ledger_url(POSTGRES, tmp_path) == POSTGRES
    assert ledger_url("", tmp_path) == str(tmp_path / "ledger.sqlite") == str(ledger_path(tmp_path))


def test_a_state_directory_is_where_the_lab_file_says_or_where_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab.model_validate(process_lab())
    assert state_directory(tmp_path) == tmp_path
    assert state_directory(None) == default_state_directory(lab)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert state_directory(None) == default_state_directory(lab) == Path("/data/springtide")


def test_who_may_write_the_labs_ledger_uses_it(tmp_path: Path) -> None:
    assert own_ledger_url("", tmp_path / "state" / "new") == str(tmp_path / "state" / "new" / "ledger.sqlite")
    assert own_ledger_url(f"sqlite:///{tmp_path}/a.sqlite", tmp_path) == f"sqlite:///{tmp_path}/a.sqlite"
    assert own_ledger_url(POSTGRES, tmp_path) == POSTGRES


@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize("configured", [True, False])
def test_who_may_not_has_one_of_her_own(
    hubs: Path, present: bool, configured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/home/alice/.local/share")
    if present:
        os.seteuid(0)
        Ledger.open(ledger_path(hubs)).close()
        os.seteuid(NOBODY)
    written = f"sqlite:///{ledger_path(hubs)}" if configured else ""
    assert own_ledger_url(written, hubs) == "/home/alice/.local/share/springtide/ledger.sqlite"


def test_a_servers_ledger_has_no_file(tmp_path: Path) -> None:
    assert file_of(POSTGRES) is None
    assert file_of(f"sqlite:///{tmp_path}/a.sqlite") == file_of(str(tmp_path / "a.sqlite")) == tmp_path / "a.sqlite"


@pytest.mark.parametrize(
    ("file", "shared"),
    [
        ("/var/lib/springtide/ledger.sqlite", False),
        ("/home/alice/ledger.sqlite", True),
        ("/home/local/ledger.sqlite", False),
        ("/homework/ledger.sqlite", False),
        ("/work on it/ledger.sqlite", True),
        ("/remote/ledger.sqlite", True),
        ("/replaced/ledger.sqlite", False),
    ],
)
def test_a_file_system_that_machines_share_is_known(file: str, shared: bool, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\n"
        "nas:/home /home nfs4 rw,vers=4.2 0 0\n"
        "/dev/sdb /home/local xfs rw 0 0\n"
        "scratch@tcp:/w /work\\040on\\040it lustre rw 0 0\n"
        "alice@far: /remote fuse.sshfs rw 0 0\n"
        "nas:/x /replaced nfs rw 0 0\n"
        "/dev/sdc /replaced ext4 rw 0 0\n"
    )
    assert is_shared(Path(file), mounts) is shared


def test_where_mounts_are_not_told_a_file_is_this_machines(tmp_path: Path) -> None:
    assert not is_shared(tmp_path, tmp_path / "nowhere")


def test_on_a_shared_file_system_there_is_no_write_ahead_log(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger.open(file).close()
    monkeypatch.setattr(engine, "is_shared", lambda _: True)
    with Ledger.open(file) as ledger:
        ledger.add_jobs([job("a")])
        assert [path.name for path in file.parent.iterdir()] == ["ledger.sqlite"]
        assert sqlite3.connect(file).execute("PRAGMA journal_mode").fetchone() == ("delete",)

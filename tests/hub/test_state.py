"""The state directory: who may read what, and what a second start finds again."""

import fcntl
import os
import re
from pathlib import Path

import pytest

from springtide.errors import SpringtideError
from springtide.hub.state import StateDirectory, default_state_directory
from springtide.lab.models import Lab
from tests.support.need import require


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    state = StateDirectory(tmp_path / "state")
    state.prepare()
    return state


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_homes_can_be_reached_and_nothing_else_be_listed(state: StateDirectory) -> None:
    found = {folder: mode(folder) for folder in (state.path, state.path / "homes", state.run, state.logs)}
    assert list(found.values()) == [0o711, 0o711, 0o700, 0o700]


def test_modes_that_somebody_opened_are_closed_again(state: StateDirectory) -> None:
    state.run.chmod(0o755)
    state.prepare()
    assert mode(state.run) == 0o700


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_secrets_are_their_owners_only_whatever_the_umask(state: StateDirectory, umask: int) -> None:
    before = os.umask(umask)
    try:
        state.secret("token")
        state.password()
        state.protect_database()
    finally:
        os.umask(before)
    assert {mode(path) for path in (state.run / "token", state.run / "password", state.database)} == {0o600}


def test_a_database_from_before_is_closed_and_kept(state: StateDirectory) -> None:
    state.database.write_bytes(b"users")
    state.database.chmod(0o644)
    state.protect_database()
    assert (mode(state.database), state.database.read_bytes()) == (0o600, b"users")


def test_a_second_start_finds_the_same_secrets(state: StateDirectory) -> None:
    again = StateDirectory(state.path)
    assert (again.secret("token"), again.password()) == (state.secret("token"), state.password())


def test_two_secrets_differ_and_are_as_long_as_asked(state: StateDirectory) -> None:
    assert state.secret("one") != state.secret("two")
    assert re.fullmatch(r"[0-9a-f]{6}", state.secret("instance", 3))


def test_the_password_can_be_read_out_over_a_desk(state: StateDirectory) -> None:
    assert re.fullmatch(r"([bcdfghjkmnpqrstvwxz2-9]{4}-){3}[bcdfghjkmnpqrstvwxz2-9]{4}", state.password())


def test_it_is_in_use_for_as_long_as_its_lock_is_held(state: StateDirectory) -> None:
    assert not state.in_use()
    with state.lock.open("w") as lock:
        assert not state.in_use()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert state.in_use()
        assert state.in_use()
    assert not state.in_use()


def test_a_directory_that_cannot_be_made_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpringtideError, match=r"cannot be used: Not a directory.*--state"):
        StateDirectory(tmp_path / "file" / "state").prepare()


def test_root_has_its_state_where_daemons_have_theirs_and_others_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    require("root's rights", os.geteuid() == 0, "run the tests as root")
    lab = Lab.model_validate(
        {"springtide": 1, "sites": {"a": {"kind": "local"}}, "profiles": [{"name": "x", "site": "a"}]}
    )
    assert default_state_directory(lab) == Path("/var/lib/springtide")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/marie")
    os.seteuid(65534)
    try:
        assert default_state_directory(lab) == Path("/home/marie/.local/share/springtide")
    finally:
        os.seteuid(0)


def test_the_lab_file_may_name_another(tmp_path: Path) -> None:
    lab = Lab.model_validate(
        {
            "springtide": 1,
            "hub": {"state_directory": str(tmp_path)},
            "sites": {"a": {"kind": "local"}},
            "profiles": [{"name": "x", "site": "a"}],
        }
    )
    assert default_state_directory(lab) == tmp_path

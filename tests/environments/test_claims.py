"""Claims: one holder at a time, and the next one's as soon as the holder is known to be dead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from springtide.environments.conversions import claims
from springtide.environments.conversions.claims import Claim, holder_of

HOLD = """
import sys
from pathlib import Path
from springtide.environments.conversions.claims import Claim
assert Claim(Path(sys.argv[1])).take()
print("held", flush=True)
input()
"""


def test_only_one_holds_a_claim_and_gives_it_back(tmp_path: Path) -> None:
    first, second = Claim(tmp_path / "claim"), Claim(tmp_path / "claim")
    assert first.take()
    assert not second.take()
    first.release()
    assert second.take()
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_the_claim_of_a_killed_process_is_taken_at_once(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert not Claim(path).take()
        assert holder_of(path) == os.uname().nodename
        holder.kill()
    claim = Claim(path)
    assert claim.take()
    claim.release()


def test_the_claim_of_another_machine_holds_while_it_is_renewed(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    path.write_text(json.dumps({"host": "n7", "kernel": "another", "locked": True, "nonce": "1"}))
    assert not Claim(path).take()
    late = time.time() - claims.DEAD_AFTER_S - 1
    os.utime(path, (late, late))
    claim = Claim(path)
    assert claim.take()
    claim.release()


def test_a_claim_is_renewed_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "RENEWED_EVERY_S", 0.05)
    path = tmp_path / "claim"
    claim = Claim(path)
    assert claim.take()
    os.utime(path, (0, 0))
    give_up_at = time.monotonic() + 10
    while path.stat().st_mtime == 0:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    claim.release()


def test_a_claim_that_was_taken_meanwhile_is_put_back(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    path.write_text(json.dumps({"host": "n8", "kernel": "another", "nonce": "new"}))
    assert not claims._remove(path, {"nonce": "old"})
    assert holder_of(path) == "n8"

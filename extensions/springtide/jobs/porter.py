#!/usr/bin/python3 -I
"""Carries the files of a job as the account that owns them: JSON on standard input, JSON on standard output.

The broker does not run as its users, so it neither writes nor reads their files itself: this program does, as they.
It needs the standard library alone. A broker that is not root runs it with sudo, installed beside the launcher as
``/usr/local/bin/springtide-porter`` (``hub_config/deployment/sudoers``). Verbs:

``make``   ``{"verb": "make", "folder": "/home/me/springtide/jobs/sum-…", "files": [{"file": "job.json", "mode": 384,
           "data": "base64"}, …], "folders": ["outputs"]}``: the folder, complete or not at all
``read``   ``{"verb": "read", "folder": …, "file": "log.txt", "offset": 0, "most": 65536}`` ->
           ``{"ok": true, "size": 12, "data": "base64"}``; ``size`` is null where there is no such file
``list``   ``{"verb": "list", "folder": …, "most": 1000}`` -> ``{"ok": true, "files": [{"file": …, "bytes": …,
           "modified": …}, …]}``: the plain files below it
``ends``   ``{"verb": "ends", "files": [[FOLDER, FILE], …], "most": 65536}`` -> ``{"ok": true, "ends": ["text", null]}``
``plot``   ``{"verb": "plot", "folder": …, "name": "psd", "pythons": ["/…/bin/python", …]}`` ->
           ``{"ok": true, "data": "base64"}``: a figure of the application's own, as PNG

No name leads out of its folder: neither ``..`` nor a link is followed. A failure is ``{"ok": false, "error": "…"}``.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

REQUEST_LIMIT_BYTES = 2**27
MOST_READ_BYTES = 2**23
_MOST_LISTED = 10_000
_PLOT_WITHIN_S = 60
_MOST_PLOT_BYTES = 2**25
_NO_MATPLOTLIB = 3
_PLOT = """
import importlib.util, io, json, pathlib, sys
try:
    import matplotlib
except ImportError:
    sys.exit(3)
matplotlib.use("Agg")
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
class Run:
    def __init__(self, parameters, folder, exit_status):
        self.parameters, self.folder, self.exit_status = parameters, folder, exit_status
job = json.loads((folder / "job.json").read_text("utf-8"))
runs, several = [], len(job["runs"]) > 1
for index, one in enumerate(job["runs"], 1):
    record = folder / (f"provenance-{index}.json" if several else "provenance.json")
    status = json.loads(record.read_text("utf-8")).get("exit_status") if record.exists() else None
    outputs = folder / "outputs" / str(index) if several else folder / "outputs"
    if status == 0:
        runs.append(Run(one["parameters"], outputs, status))
if not runs:
    sys.exit("No run of this job has succeeded yet.")
file, _, function = job["plots"][name].partition(":")
sys.path.insert(0, str(folder / "program"))
specification = importlib.util.spec_from_file_location("plot", folder / "program" / file)
module = importlib.util.module_from_spec(specification)
specification.loader.exec_module(module)
picture = io.BytesIO()
getattr(module, function)(runs).savefig(picture, format="png", dpi=100)
sys.stdout.buffer.write(picture.getvalue())
"""


class BadRequest(ValueError):
    """The request is not one this program takes."""


def main() -> int:
    """Answer the one request on standard input."""
    os.umask(0o077)
    try:
        raw = sys.stdin.buffer.read(REQUEST_LIMIT_BYTES + 1)
        if len(raw) > REQUEST_LIMIT_BYTES:
            raise BadRequest(f"the request is larger than {REQUEST_LIMIT_BYTES} bytes")
        answer = answer_request(json.loads(raw))
    except ValueError as error:
        answer = {"ok": False, "error": f"bad request: {error}"}
    json.dump(answer, sys.stdout)
    return 0


def answer_request(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one request.

    Raises
    ------
    BadRequest
        If it is none that this program takes; nothing was done.
    """
    if not isinstance(request, dict):
        raise BadRequest("no JSON object")
    wanted = dict(request)
    act = _VERBS.get(str(wanted.pop("verb", "")))
    if act is None:
        raise BadRequest(f"unknown verb; known: {', '.join(_VERBS)}")
    try:
        return {"ok": True, **act(**wanted)}
    except TypeError as error:
        raise BadRequest(str(error)) from None
    except OSError as error:
        return {"ok": False, "error": f"{error.filename or 'the folder'}: {error.strerror or error}"}


# --- one function for each verb ---------------------------------------------------------------------------------------


def _make(folder: str, files: Sequence[dict[str, Any]], folders: Sequence[str]) -> dict[str, Any]:
    _absolute(folder)
    parent, name = os.path.split(folder)
    beside = os.path.join(parent, f".{name}.new")
    os.makedirs(parent, mode=0o700, exist_ok=True)
    shutil.rmtree(beside, ignore_errors=True)
    try:
        os.mkdir(beside, 0o700)
        for one in folders:
            os.makedirs(os.path.join(beside, *_parts(one)), mode=0o700, exist_ok=True)
        for file in files:
            _write(os.path.join(beside, *_parts(file["file"])), base64.b64decode(file["data"]), int(file["mode"]))
        if os.path.lexists(folder):
            # Of a former try that ended before anybody wrote it down.
            shutil.rmtree(f"{beside}.old", ignore_errors=True)
            os.rename(folder, f"{beside}.old")
        os.rename(beside, folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(f"{beside}.old", ignore_errors=True)
    return {}


def _write(path: str, data: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(descriptor, mode & 0o700)
        os.fsync(descriptor)


def _read(folder: str, file: str, offset: int, most: int) -> dict[str, Any]:
    try:
        descriptor = _open(folder, file)
    except FileNotFoundError:
        return {"size": None, "data": ""}
    with os.fdopen(descriptor, "rb") as stream:
        size = os.fstat(descriptor).st_size
        stream.seek(max(0, min(int(offset), size)))
        data = stream.read(max(0, min(int(most), MOST_READ_BYTES)))
    return {"size": size, "data": base64.b64encode(data).decode("ascii")}


def _list(folder: str, most: int) -> dict[str, Any]:
    _absolute(folder)
    found = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            try:
                known = os.lstat(path)
            except FileNotFoundError:
                continue
            relative = os.path.relpath(path, folder)
            if stat.S_ISREG(known.st_mode) and relative == relative.encode("utf-8", "replace").decode("utf-8"):
                found.append({"file": relative, "bytes": known.st_size, "modified": known.st_mtime})
                if len(found) >= min(int(most), _MOST_LISTED):
                    return {"files": found, "whole": False}
    return {"files": found, "whole": True}


def _ends(files: Sequence[Sequence[str]], most: int) -> dict[str, Any]:
    return {"ends": [_end(folder, file, int(most)) for folder, file in files]}


def _end(folder: str, file: str, most: int) -> str | None:
    try:
        descriptor = _open(folder, file)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        stream.seek(max(0, os.fstat(descriptor).st_size - most))
        return stream.read(most).decode("utf-8", "replace")


def _plot(folder: str, name: str, pythons: Sequence[str]) -> dict[str, Any]:
    _absolute(folder)
    for python in pythons:
        try:
            answer = subprocess.run(
                [_absolute(python), "-I", "-c", _PLOT, folder, name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PLOT_WITHIN_S,
                cwd=folder,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": folder, "LANG": "C.UTF-8"},
            )
        except subprocess.TimeoutExpired:
            raise OSError(errno.ETIME, f"it takes longer than {_PLOT_WITHIN_S} s", "the figure") from None
        if answer.returncode == _NO_MATPLOTLIB:
            continue
        if answer.returncode or len(answer.stdout) > _MOST_PLOT_BYTES:
            words = answer.stderr.decode("utf-8", "replace").strip().splitlines() or ["it is too large"]
            raise OSError(errno.EIO, words[-1][:300], "the figure")
        return {"data": base64.b64encode(answer.stdout).decode("ascii")}
    raise OSError(errno.ENOENT, "no Python here has matplotlib", "the figure")


# --- names ------------------------------------------------------------------------------------------------------------


def _absolute(path: str) -> str:
    if not isinstance(path, str) or not os.path.isabs(path) or "\0" in path:
        raise BadRequest("not an absolute path")
    return path


def _parts(file: str) -> list[str]:
    parts = file.split("/") if isinstance(file, str) else [""]
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise BadRequest("not the name of a file in the folder")
    return parts


def _open(folder: str, file: str) -> int:
    """Return the descriptor of a plain file below a folder; no link on the way is followed."""
    *parents, name = _parts(file)
    with_links_refused = os.O_NOFOLLOW | os.O_CLOEXEC
    opened: list[int] = []
    try:
        for part in _steps(_absolute(folder), parents):
            above = {"dir_fd": opened[-1]} if opened else {}
            opened.append(os.open(part, os.O_RDONLY | os.O_DIRECTORY | with_links_refused, **above))
        # Without O_NONBLOCK, a pipe with this name would hold us for ever.
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | with_links_refused, dir_fd=opened[-1])
    finally:
        for one in opened:
            os.close(one)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "it is no plain file", file)
    return descriptor


def _steps(folder: str, parents: Sequence[str]) -> Iterator[str]:
    yield folder
    yield from parents


_VERBS: dict[str, Callable[..., dict[str, Any]]] = {
    "make": _make,
    "read": _read,
    "list": _list,
    "ends": _ends,
    "plot": _plot,
}


if __name__ == "__main__":
    sys.exit(main())

"""The shared tutorials: what a folder of notebooks offers, and what a user's own copy of one holds.

Nothing here talks to a hub or a session; `gallery_copies` writes the copies and `gallery_handlers` shows the page.

A tutorial says who it is in its notebook metadata, every key optional::

    "springtide": {"title": {"en": "…", "fr": "…"}, "summary": {"en": "…", "fr": "…"},
                   "environment": "lisa", "minutes": 3, "order": 1}
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, Field, ValidationError

from springtide.lab.fields import Name
from springtide.lab.models import Text

COPIES_FOLDER = "tutorials"
"""Where a user's copies lie, relative to the folder her session serves."""
ENVIRONMENT_ARGUMENT = "environment"
"""In the address that opens a tutorial after a start: what the spawn page reads to propose a fitting profile."""
LARGEST_NOTEBOOK_BYTES = 20 * 2**20
_SUMMARY_CHARACTERS = 240
_LAST = 1_000_000

_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_NOT_PROSE = ("#", "!", "<", "|", "`", "~", "-", "*", ">", "$", "=", ":")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_EMPHASIS = re.compile(r"[*`]|(?<!\w)_|_(?!\w)")
_KERNEL_PREFIX = "springtide-"


@dataclass(frozen=True)
class Tutorial:
    """A notebook of the folder that can be opened."""

    name: str
    """File name without ``.ipynb``; what addresses and forms call it."""
    title: Text
    summary: Text | None
    environment: str
    """The environment it is made for; empty: any."""
    minutes: float | None
    order: int
    content: bytes
    sha256: str
    problem: str = ""
    """What is wrong with its ``springtide`` metadata, which is then ignored."""


@dataclass(frozen=True)
class Unreadable:
    """A file of the folder that is no whole notebook: half written, or broken."""

    name: str
    reason: str
    """``gallery.unreadable_REASON`` says it in words."""
    detail: str = ""


Entry = Tutorial | Unreadable


class _Declared(BaseModel):
    """What a tutorial's author may say about it; keys of others are left alone."""

    title: Text | None = None
    summary: Text | None = None
    environment: Name = ""
    minutes: Annotated[float, Field(gt=0, le=100_000)] | None = None
    order: int = _LAST


class Gallery:
    """The tutorials of one folder, read again only where a file changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, tuple[tuple[int, int, int], Entry]] = {}

    def entries(self) -> tuple[Entry, ...]:
        """Return what lies in the folder now, in the order to show it; blocks on the disk.

        Raises
        ------
        OSError
            If the folder cannot be read.
        """
        known: dict[str, tuple[tuple[int, int, int], Entry]] = {}
        with os.scandir(self.folder) as files:
            for file in files:
                if file.name.endswith(".ipynb") and not file.name.startswith(".") and file.is_file():
                    self._read_if_changed(file, known)
        # Replaced as a whole: several threads may be here at once.
        self._known = known
        return tuple(sorted((entry for _, entry in known.values()), key=_place))

    def _read_if_changed(self, file: os.DirEntry[str], known: dict[str, tuple[tuple[int, int, int], Entry]]) -> None:
        try:
            status = file.stat()
            signature = (status.st_mtime_ns, status.st_size, status.st_ino)
            before = self._known.get(file.name)
            if before and before[0] == signature:
                known[file.name] = before
            else:
                known[file.name] = (signature, read_entry(Path(file.path)))
        except FileNotFoundError:
            return


def _place(entry: Entry) -> tuple[int, str]:
    return (entry.order if isinstance(entry, Tutorial) else _LAST + 1, entry.name)


def read_entry(path: Path) -> Entry:
    """Return the tutorial in file `path`, or why it cannot be opened.

    Raises
    ------
    FileNotFoundError
        If it has gone.
    """
    name = path.name.removesuffix(".ipynb")
    if not name.isprintable() or not name.strip():
        return Unreadable(ascii(path.name), "bad_name")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_NOTEBOOK_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        return Unreadable(name, "no_access", error.strerror or "")
    return parse_entry(name, content)


def parse_entry(name: str, content: bytes) -> Entry:
    """Return the tutorial that the bytes of a notebook file hold, or why they hold none."""
    if len(content) > LARGEST_NOTEBOOK_BYTES:
        return Unreadable(name, "too_large")
    try:
        notebook = json.loads(content)
        # A lone surrogate is legal JSON, yet no file can hold it: better found here than when a user opens it.
        json.dumps(notebook, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return Unreadable(name, "not_json", str(error))
    if not _is_notebook(notebook):
        return Unreadable(name, "not_notebook")
    declared, problem = _declared(notebook["metadata"].get("springtide", {}))
    markdown = "\n\n".join(_source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    return Tutorial(
        name=name,
        title=declared.title or Text(en=_first_heading(markdown) or name),
        summary=declared.summary or _first_paragraph(markdown),
        environment=declared.environment or _kernel_environment(notebook["metadata"]),
        minutes=declared.minutes,
        order=declared.order,
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        problem=problem,
    )


def _is_notebook(notebook: Any) -> bool:
    return (
        isinstance(notebook, dict)
        and notebook.get("nbformat") == 4
        and isinstance(notebook.get("metadata"), dict)
        and isinstance(notebook.get("cells"), list)
        and all(_is_cell(cell) for cell in notebook["cells"])
    )


def _is_cell(cell: Any) -> bool:
    if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
        return False
    source = cell.get("source")
    return isinstance(source, str) or (isinstance(source, list) and all(isinstance(line, str) for line in source))


def _source(cell: Mapping[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _declared(metadata: Any) -> tuple[_Declared, str]:
    """A slip in the metadata costs the author a nice card, never the tutorial itself."""
    try:
        return _Declared.model_validate(metadata), ""
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc'])) or 'springtide'}: {fault['msg']}" for fault in error.errors())
        return _Declared(), "; ".join(faults)


def _kernel_environment(metadata: Mapping[str, Any]) -> str:
    """Springtide names its kernels after their environment; of any other kernel nothing is known."""
    kernelspec = metadata.get("kernelspec")
    name = kernelspec.get("name") if isinstance(kernelspec, dict) else None
    if not isinstance(name, str) or not name.startswith(_KERNEL_PREFIX):
        return ""
    return _declared({"environment": name.removeprefix(_KERNEL_PREFIX)})[0].environment


def _first_heading(markdown: str) -> str:
    heading = _HEADING.search(markdown)
    return _plain(heading[1]) if heading else ""


def _first_paragraph(markdown: str) -> Text | None:
    for block in re.split(r"\n\s*\n", _HEADING.sub("\n", markdown)):
        if block.strip() and not block.lstrip().startswith(_NOT_PROSE):
            words = _plain(block)
            if len(words) > _SUMMARY_CHARACTERS:
                words = words[:_SUMMARY_CHARACTERS].rsplit(" ", 1)[0] + " …"
            return Text(en=words) if words else None
    return None


def _plain(markdown: str) -> str:
    """Return one printable line without links and emphasis."""
    line = " ".join(_EMPHASIS.sub("", _LINK.sub(r"\1", markdown)).split())
    return "".join(character for character in line if character.isprintable())


def copy_text(tutorial: Tutorial, kernel: Mapping[str, str] | None = None) -> str:
    """Return the notebook file of a user's own copy: the master, where it comes from, and the kernel to run it.

    Parameters
    ----------
    tutorial : Tutorial
    kernel : mapping, optional
        The ``kernelspec`` of her session that runs the tutorial's environment, if it is not the master's own.
    """
    notebook = json.loads(tutorial.content)
    metadata = notebook["metadata"]
    declared = metadata.get("springtide")
    origin = {"name": tutorial.name, "sha256": tutorial.sha256}
    metadata["springtide"] = {**(declared if isinstance(declared, dict) else {}), "origin": origin}
    if kernel:
        metadata["kernelspec"] = dict(kernel)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def origin_sha256(notebook: Any) -> str:
    """Return the sha256 of the master that a user's `notebook` was copied from, empty where it does not say."""
    found = notebook
    for key in ("metadata", "springtide", "origin", "sha256"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def copies_of(name: str, present: Iterable[str], masters: Iterable[str]) -> tuple[str, ...]:
    """Return which of the files `present` are copies of tutorial `name`, the first made first.

    ``fit-2.ipynb`` is a copy of ``fit``, unless there is a tutorial ``fit-2``.
    """
    numbered = re.compile(re.escape(name) + r"(?:-([1-9]\d{0,5}))?\.ipynb")
    others = {f"{master}.ipynb" for master in masters} - {f"{name}.ipynb"}
    found = [(int(match[1] or 1), match[0]) for file in set(present) - others if (match := numbered.fullmatch(file))]
    return tuple(file for _, file in sorted(found))


def next_copy(name: str, present: Iterable[str], masters: Iterable[str]) -> str:
    """Return the file name for one more copy of tutorial `name`: ``NAME.ipynb``, ``NAME-2.ipynb`` and so on."""
    taken = {*present, *(f"{master}.ipynb" for master in masters if master != name)}
    if f"{name}.ipynb" not in taken:
        return f"{name}.ipynb"
    copies = copies_of(name, taken, masters)
    last = re.search(r"-(\d+)\.ipynb$", copies[-1].removeprefix(name)) if copies else None
    number = int(last[1]) + 1 if last else 2
    while f"{name}-{number}.ipynb" in taken:
        number += 1
    return f"{name}-{number}.ipynb"


def choose_kernel(kernelspecs: Mapping[str, Any], environment: str) -> dict[str, str] | None:
    """Return the kernel of a session that runs `environment`, as notebook metadata; None where none says so.

    Parameters
    ----------
    kernelspecs : mapping
        ``kernelspecs`` of the Jupyter server's ``/api/kernelspecs``.
    """
    for name, kernel in kernelspecs.items():
        spec = kernel.get("spec") if isinstance(kernel, dict) else None
        if not isinstance(spec, dict):
            continue
        metadata = spec.get("metadata")
        springtide = metadata.get("springtide") if isinstance(metadata, dict) else None
        declared = springtide.get("environment") if isinstance(springtide, dict) else None
        if declared == environment or (declared is None and name in (environment, f"{_KERNEL_PREFIX}{environment}")):
            display_name, language = str(spec.get("display_name") or name), str(spec.get("language") or "python")
            return {"name": name, "display_name": display_name, "language": language}
    return None


@dataclass(frozen=True)
class Session:
    """One of the user's servers that runs or is starting."""

    server: str
    """Server name; empty for the default one."""
    label: str
    ready: bool
    environments: frozenset[str]
    """The environments it can run; empty: not known."""

    def fits(self, tutorial: Tutorial) -> bool:
        """Return whether `tutorial` can run here, as far as is known."""
        return not tutorial.environment or not self.environments or tutorial.environment in self.environments


def best_session(tutorial: Tutorial, sessions: Sequence[Session]) -> Session | None:
    """Return where to open `tutorial`: a session with its environment if there is one, rather a running one."""
    return min(sessions, key=lambda session: (not session.fits(tutorial), not session.ready), default=None)


def wanted_environment(next_url: str) -> str:
    """Return the environment of the tutorial a session is started for, given the spawn page's ``next``; empty: none."""
    try:
        address = urlsplit(next_url)
    except ValueError:
        return ""
    if not address.path.endswith("/gallery/open"):
        return ""
    return _declared({"environment": parse_qs(address.query).get(ENVIRONMENT_ARGUMENT, [""])[0]})[0].environment

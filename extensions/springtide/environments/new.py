"""Makes the folder of a new environment from a template that works as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from springtide.environments.recipe import DOCKERFILE
from springtide.errors import EnvironmentsError
from springtide.lab.fields import NAME_FORM, NAME_PATTERN

_TEMPLATE = Path(__file__).parent / "template"
# Python files of the template are not yet Python: tools would read them.
_SUFFIX = ".template"
_LONGEST_LABEL = 80


def check_name(name: str) -> None:
    """Return if an environment may be called `name`.

    Raises
    ------
    EnvironmentsError
        If not: it is part of paths, of image names and of the lab file.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        shown = name if name.isprintable() else ascii(name)
        raise EnvironmentsError(f"“{shown[:60]}” is no name for an environment.", f"A name is {NAME_FORM}.")


def make_environment(parent: Path, name: str, label: str = "") -> Path:
    """Make ``parent/name`` and return it: a recipe, a kernel, a module, tests, a page and pipelines.

    Raises
    ------
    EnvironmentsError
        If the name or label cannot be used, the folder is there already, or it cannot be written.
    """
    check_name(name)
    label = label or name
    if not (label.isprintable() and label.strip() and len(label) <= _LONGEST_LABEL):
        raise EnvironmentsError(f"The label is not one printable line of at most {_LONGEST_LABEL} characters.")
    folder = parent / name
    if not re.fullmatch(r"[\w./-]+", _as_written(folder)):
        raise EnvironmentsError(f"{folder} has characters that pipelines cannot take.", "Letters, digits and “._/-”.")
    # As it will be written in pipelines: from the top of the project, which is where the command is called.
    words = {"NAME": name, "LABEL": label, "MODULE": name.replace("-", "_"), "FOLDER": _as_written(folder)}
    try:
        folder.mkdir(parents=True)
        for source in sorted(path for path in _TEMPLATE.rglob("*") if path.is_file()):
            target = folder / _filled(source.relative_to(_TEMPLATE).as_posix().removesuffix(_SUFFIX), words)
            target.parent.mkdir(parents=True, exist_ok=True)
            in_json = {key: json.dumps(word, ensure_ascii=False)[1:-1] for key, word in words.items()}
            text = source.read_text(encoding="utf-8")
            target.write_text(_filled(text, in_json if target.suffix == ".json" else words), encoding="utf-8")
    except FileExistsError:
        has = f"with a {DOCKERFILE}" if (folder / DOCKERFILE).exists() else f"without a {DOCKERFILE}"
        raise EnvironmentsError(f"{folder} is there already, {has}.", "Choose another name, or remove it.") from None
    except OSError as error:
        raise EnvironmentsError(f"{error.filename} cannot be written: {error.strerror}.") from error
    return folder


def _as_written(folder: Path) -> str:
    try:
        return folder.absolute().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return folder.as_posix()


def _filled(text: str, words: dict[str, str]) -> str:
    return re.sub(r"@([A-Z]+)@", lambda match: words.get(match[1], match[0]), text)

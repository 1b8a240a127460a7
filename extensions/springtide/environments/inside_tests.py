"""Runs an environment's tests inside its image, and counts which lines of its own Python files they reach.

Runs by its text (``python3 -c``) with the recipe's folder as its argument, so it imports the standard library only.
Own files are those of the recipe outside ``tests``, recognised by their content wherever the image has them: what a
test imports from the image counts as much as what it imports from the recipe. Processes that tests start are not seen.
The last line on standard output is a JSON object.
"""

import hashlib
import json
import os
import sys
import threading
import types
import unittest
from pathlib import Path

_STATEMENTS = (".py",)


def main(recipe: str) -> int:
    """Run the tests in ``recipe/tests``; return the exit status."""
    own = _own_files(Path(recipe))
    reached: dict[str, set[int]] = {name: set() for name in own.values()}
    known: dict[str, str | None] = {}

    def name_of(file: str) -> str | None:
        if file not in known:
            known[file] = own.get(_content(file)) if file.endswith(_STATEMENTS) else None
        return known[file]

    def calls(frame: types.FrameType, event: str, _: object) -> object:
        name = name_of(frame.f_code.co_filename)
        if name is None:
            return None  # the lines of others are not looked at: they run at nearly full speed
        lines = reached[name]

        def each(inner: types.FrameType, event: str, _: object) -> object:
            if event == "line":
                lines.add(inner.f_lineno)
            return each

        return each(frame, "line", None)

    sys.dont_write_bytecode = True
    tests = unittest.defaultTestLoader.discover(os.path.join(recipe, "tests"))
    if own:
        threading.settrace(calls)  # type: ignore[arg-type]
        sys.settrace(calls)  # type: ignore[arg-type]
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=2).run(tests)
    sys.settrace(None)
    covered = {name: _counted(Path(recipe, name), lines) for name, lines in sorted(reached.items())}
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    report = {"run": result.testsRun, "failed": failed, "skipped": len(result.skipped), "covered": covered}
    print("\n" + json.dumps(report), flush=True)
    return 0 if result.wasSuccessful() and result.testsRun else 1


def _own_files(recipe: Path) -> "dict[str, str]":
    files = (file for file in recipe.rglob("*.py") if "tests" not in file.relative_to(recipe).parts)
    return {_content(str(file)): file.relative_to(recipe).as_posix() for file in files if file.stat().st_size}


def _content(file: str) -> str:
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return ""  # "<string>" and the like


def _counted(file: Path, reached: "set[int]") -> "list[int]":
    """Return the lines that were reached, and those that could be."""
    lines: set[int] = set()
    waiting = [compile(file.read_bytes(), str(file), "exec")]
    while waiting:
        code = waiting.pop()
        lines |= {line for _, _, line in code.co_lines() if line}
        waiting += [one for one in code.co_consts if isinstance(one, types.CodeType)]
    return [len(lines & reached), len(lines)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

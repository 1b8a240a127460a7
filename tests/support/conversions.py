"""A registry's small image, and Apptainer whose conversions are counted, for tests of the cache of images."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.apptainer import apptainer_folder
from tests.support.registry import RunningRegistry

# Has an image, as whoever starts kernels and jobs does; what it is told stands on its standard error.
PROGRAM = """
import sys
from pathlib import Path
from springtide.environments.conversions import ConversionCache, FromRegistry
from springtide.environments.registry.login import Access
from springtide.environments.registry.reference import parse_reference
from springtide.environments.runtimes import Form
from springtide.errors import SpringtideError
folder, limit, reference, credentials, certificate, form, use = sys.argv[1:]
try:
    source = FromRegistry(parse_reference(reference), Access(Path(credentials), Path(certificate)))
    say = lambda line: print(line, file=sys.stderr, flush=True)
    print(ConversionCache(Path(folder), int(limit)).have(source, Form(form), say, use=use).image)
except SpringtideError as error:
    sys.exit(str(error))
"""
# Counts, says when it has begun, waits if it is told to, and is Apptainer.
_COUNTING = """#!/bin/sh
if [ "$1" = build ]; then
    echo $$ >>"{folder}/conversions"
    while [ -e "{folder}/wait" ]; do sleep 0.05; done
    [ ! -e "{folder}/fail" ] || {{ echo "INFO: one"; echo "FATAL: it does not work" >&2; exit 7; }}
fi
exec "{real}" "$@"
"""


@dataclass
class Conversions:
    """A cache in `folder`, which processes of their own are to have an image of."""

    folder: Path
    registry: RunningRegistry
    reference: str
    limit_bytes: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache = self.folder / "cache"
        (self.folder / "scratch").mkdir()
        (self.folder / "bin").mkdir()
        program = self.folder / "bin" / "apptainer"
        program.write_text(_COUNTING.format(folder=self.folder, real=apptainer_folder() / "apptainer"))
        program.chmod(0o755)
        self.environment = {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": str(self.folder / "scratch"),
        }

    def start(self, form: str = "sif", use: str = "", reference: str = "") -> subprocess.Popen[str]:
        """Start a process that has the image."""
        access = self.registry.access
        files = [str(access.credentials), str(access.certificate)]
        arguments = [str(self.cache), str(self.limit_bytes), reference or self.reference, *files, form, use]
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
        )

    def have(self, form: str = "sif", use: str = "", reference: str = "") -> Path:
        """Return the image."""
        with self.start(form, use, reference) as process:
            out, errors = process.communicate()
        assert process.returncode == 0, errors
        return Path(out.strip())

    def refusal(self, form: str = "sif", reference: str = "") -> str:
        """Return why there is no image."""
        with self.start(form, reference=reference) as process:
            _, errors = process.communicate()
        assert process.returncode == 1, errors
        return errors

    @property
    def count(self) -> int:
        """How often Apptainer was asked to convert."""
        file = self.folder / "conversions"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def hold(self) -> None:
        """Have conversions wait once they have begun."""
        (self.folder / "wait").touch()

    def go_on(self) -> None:
        (self.folder / "wait").unlink()

    @property
    def left(self) -> list[str]:
        """What lies in the cache beside images."""
        return sorted(path.name for path in self.cache.glob(".*"))

"""Applications for tests: one with every kind of parameter, and the lab's script wrapped as one."""

from __future__ import annotations

from pathlib import Path

from springtide.jobs.applications.load import load_application
from springtide.jobs.applications.models import Application

EVERY_KIND = """\
springtide: 1
label: {en: Every kind, fr: Toutes sortes}
parameters:
  rate: {kind: number, unit: Hz, min: 0.001, max: 10, default: 1, label: Rate}
  time: {kind: number, unit: s, min: 1, max: 864000, default: 60, label: Time}
  count: {kind: integer, min: 1, max: 100, default: 3, label: Count}
  seed: {kind: seed, label: Seed}
  method: {kind: choice, choices: [fast, {value: exact, label: Slow}], default: fast, label: Method}
  title: {kind: text, max_length: 50, required: false, label: Title}
  notes: {kind: text, lines: true, default: "", label: Notes}
  word: {kind: text, pattern: "[a-z]+", default: abc, label: Word}
  config: {kind: file, names: ["*.xml"], max_size: 1000, required: false, label: Configuration}
  verbose: {kind: boolean, flag: --verbose, label: Verbose}
  strict: {kind: boolean, default: true, label: Strict}
command:
  - echo
  - --rate={rate}
  - "{time}"
  - "{count}"
  - "{seed}"
  - "{method}"
  - [--title, "{title}"]
  - [--config, "{config}"]
  - "{notes}"
  - "{word}"
  - "{verbose}"
  - "{strict}"
  - "{{literal}}"
"""

# The slide deck's LISACode job: one image, one program, one configuration.
LISACODE = """\
springtide: 1
label: {en: LISACode, fr: LISACode}
help: {en: Simulates LISA and its TDI with LISACode., fr: Simule LISA et sa TDI avec LISACode.}
licence: GPL-2.0-only
groups: [lisa]
parameters:
  output: {kind: text, pattern: "[A-Za-z0-9_]+", default: mytdi, label: {en: Name, fr: Nom}}
command: [python, /usr/bin/makeTDI-lisacode2.py, "{output}"]
resources: {cores: 1, memory: 2G, walltime: {default: 1h, max: 1d}}
outputs: [{name: tdi, files: "*"}]
"""


def written(folder: Path, text: str = EVERY_KIND, name: str = "every-kind") -> Path:
    """Return the file of an application that says `text`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return file


def application(folder: Path, text: str = EVERY_KIND) -> Application:
    """Return the application that `text` declares."""
    return load_application(written(folder, text))

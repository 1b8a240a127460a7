"""What a benchmark says: samples, tables, and where they stand in BENCHMARKS.md."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import springtide
from tests.support.docker_engine import DEFAULT_SOCKET, client_that_answers

BENCHMARKS = Path(__file__).parents[2] / "BENCHMARKS.md"
QUICK = os.environ.get("SPRINGTIDE_BENCH") == "quick"
_GIB = 2**30
_WIDTH = 118


def repetitions(full: int, quick: int = 1) -> int:
    """Return how often to measure: `quick` when only the benchmark itself is tried."""
    return quick if QUICK else full


def spread(samples: Sequence[float], digits: int = 2) -> str:
    """Return ``median (min–max)``."""
    low, middle, high = (f"{value:.{digits}f}" for value in (min(samples), statistics.median(samples), max(samples)))
    return f"{middle} ({low}–{high})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Return the median ratio of samples measured in turns, each to its neighbour, and the spread of these ratios."""
    return spread([one / other for one, other in zip(ours, theirs, strict=True)])


@dataclass(frozen=True)
class Table:
    """Rows under a head; the first column is text, the others are right-aligned."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.head, rule, *self.rows))


class Report:
    """Collects one benchmark's tables and sentences, and puts them between its markers.

    Parameters
    ----------
    name : str
        Of the section: between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._begun = datetime.datetime.now().astimezone()
        self._load = os.getloadavg()[0]
        self._parts: list[str] = []

    def add(self, part: Table | str) -> None:
        """Add a table, or a paragraph."""
        self._parts.append(textwrap.fill(part, _WIDTH) if isinstance(part, str) else str(part))

    def publish(self) -> None:
        """Print the section, and replace the one in BENCHMARKS.md unless this is only a trial."""
        text = "\n\n".join([self._circumstances(), *self._parts])
        print(f"\n\n{text}\n", flush=True)
        if not QUICK:
            BENCHMARKS.write_text(replaced(BENCHMARKS.read_text(encoding="utf-8"), self.name, text), encoding="utf-8")

    def _circumstances(self) -> str:
        minutes = (datetime.datetime.now().astimezone() - self._begun).total_seconds() / 60
        return (
            f'`make bench ARGS="-k {self.name}"` · {self._begun:%Y-%m-%d %H:%M %Z}, {minutes:.1f} min · '
            f"Springtide {springtide.__version__} · {machine()} · load before: {self._load:.1f}"
        )


def replaced(document: str, name: str, text: str) -> str:
    """Return `document` with `text` between the markers of `name`.

    Raises
    ------
    ValueError
        If it has no such markers.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"{BENCHMARKS.name} needs the lines {begin} and {end}, once each")
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", document)


def machine() -> str:
    """Return cores, memory, kernel and Docker version of this machine."""
    meminfo = Path("/proc/meminfo").read_text(encoding="utf-8")
    memory_kib = int(next(iter(re.findall(r"^MemTotal:\s+(\d+)", meminfo, re.MULTILINE))))
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next(iter(re.findall(r"^model name\s*:\s*(.+)", cpuinfo, re.MULTILINE)), platform.machine())
    return (
        f"{len(os.sched_getaffinity(0))} cores ({model}), {memory_kib * 1024 / _GIB:.0f} GiB, "
        f"Linux {platform.release()}, {_docker_version()}"
    )


def _docker_version() -> str:
    client = client_that_answers(DEFAULT_SOCKET)
    if client is None:
        return "no Docker"
    try:
        return f"Docker {client.version()['Version']}"
    finally:
        client.close()

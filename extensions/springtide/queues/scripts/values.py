"""The numbers, sizes, times and lists that batch directives are written in.

Every function raises ValueError with what is allowed, in words that end a sentence.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from itertools import pairwise

from springtide.queues.model import JobArray

# More than this is a slip of the pen on any cluster there is; what a site really has is looked up before submission.
MOST_CORES = 1_000_000
MOST_NODES = 1_000_000
_MOST_MEMORY_BYTES = 2**60
_MOST_WALLTIME_S = 10 * 366 * 86400
_MOST_ARRAY_JOBS = 1_000_000

_FACTORS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_WORD_BYTES = 8
_PBS_MEMORY = re.compile(r"(\d{1,18})([kmgtp]?)([bw]?)", re.IGNORECASE)
_SLURM_MEMORY = re.compile(r"(\d{1,18})([kmgtp]?)b?", re.IGNORECASE)
_SLURM_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_ARRAY = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?(?:%(\d{1,9}))?")
_LATER = re.compile(r"now(?:\+(\d{1,9})\s*(seconds?|minutes?|hours?|days?|weeks?)?)?")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")

_PBS_MEMORY_FORMS = "a whole number with a unit: 400mb, 4gb"
_SLURM_MEMORY_FORMS = "a whole number with a unit: 400M, 4G"
_PBS_TIME_FORMS = "HH:MM:SS, e.g. 02:30:00, or seconds; more than zero"
_SLURM_TIME_FORMS = "minutes, HH:MM:SS, D-HH or D-HH:MM:SS, e.g. 02:30:00; more than zero"
_ARRAY_FORMS = "FIRST-LAST or FIRST-LAST:STEP, e.g. 1-100 or 0-20:2"
_DATE_FORMS = "[[CC]YY]MMDDhhmm[.SS], e.g. 202612312359"
_BEGIN_FORMS = "YYYY-MM-DDTHH:MM, HH:MM, or now+2hours"


def read_count(text: str, most: int) -> int:
    """Return a whole number from 1 to `most`."""
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:18]) <= most or len(text) > 18:
        raise ValueError(f"a whole number from 1 to {most:,}")
    return int(text)


def read_pbs_memory(text: str) -> int:
    """Return the bytes of ``4gb``, ``512mw`` (words of 8 bytes), or a bare number of bytes."""
    match = _PBS_MEMORY.fullmatch(text)
    if not match:
        raise ValueError(_PBS_MEMORY_FORMS)
    unit = _WORD_BYTES if match[3].lower() == "w" else 1
    return _sensible_memory(int(match[1]) * _FACTORS[match[2].lower()] * unit, _PBS_MEMORY_FORMS)


def read_slurm_memory(text: str) -> int:
    """Return the bytes of ``4G``, or of a bare number of MiB."""
    match = _SLURM_MEMORY.fullmatch(text)
    if not match:
        raise ValueError(_SLURM_MEMORY_FORMS)
    return _sensible_memory(int(match[1]) * _FACTORS[match[2].lower() or "m"], _SLURM_MEMORY_FORMS)


def _sensible_memory(memory_bytes: int, forms: str) -> int:
    if memory_bytes <= 0:
        raise ValueError(f"{forms}; more than zero")
    if memory_bytes > _MOST_MEMORY_BYTES:
        raise ValueError("at most 1 EiB")
    return memory_bytes


def read_pbs_walltime(text: str) -> int:
    """Return the seconds of ``[[DD:]HH:]MM:SS[.ms]`` or of a bare number of seconds."""
    parts = text.partition(".")[0].split(":")
    if not 1 <= len(parts) <= 4 or not all(part.isascii() and part.isdecimal() and len(part) < 12 for part in parts):
        raise ValueError(_PBS_TIME_FORMS)
    factors = (1, 60, 3600, 86400)
    seconds = sum(int(part) * factor for part, factor in zip(reversed(parts), factors, strict=False))
    return _sensible_walltime(seconds, _PBS_TIME_FORMS)


def read_slurm_walltime(text: str) -> int:
    """Return the seconds of ``minutes``, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M`` or ``D-H:M:S``."""
    match = _SLURM_TIME.fullmatch(text)
    if not match or any(len(part) > 11 for part in match.groups("")):
        raise ValueError(_SLURM_TIME_FORMS)
    days, *rest = match.groups()
    numbers = [int(part) for part in rest if part is not None]
    # Read from the left behind days, from minutes and seconds without: "90" is minutes, "1-12" is a day and 12 hours.
    if days is not None:
        factors: tuple[int, ...] = (3600, 60, 1)
    else:
        factors = {1: (60,), 2: (60, 1), 3: (3600, 60, 1)}[len(numbers)]
    seconds = int(days or 0) * 86400 + sum(n * factor for n, factor in zip(numbers, factors, strict=False))
    return _sensible_walltime(seconds, _SLURM_TIME_FORMS)


def _sensible_walltime(seconds: int, forms: str) -> int:
    if seconds <= 0:
        raise ValueError(forms)
    if seconds > _MOST_WALLTIME_S:
        raise ValueError("at most ten years")
    return seconds


def read_array(text: str) -> JobArray:
    """Return the array of ``1-100``, ``0-20:2``, ``1-100%5`` (five at a time), or of an even list like ``1,3,5``."""
    listed, _, at_once = text.partition("%")
    numbers = listed.split(",")
    if len(numbers) > 1 and all(number.isascii() and number.isdecimal() and len(number) < 10 for number in numbers):
        return _even_array([int(number) for number in numbers], at_once)
    match = _ARRAY.fullmatch(text)
    if not match:
        raise ValueError(_ARRAY_FORMS)
    first, last = int(match[1]), int(match[2] or match[1])
    array = JobArray(first, last, int(match[3] or 1) or 0, int(match[4] or 0))
    if last < first or array.step < 1:
        raise ValueError(f"{_ARRAY_FORMS}; the last not before the first, the step at least 1")
    if len(array) > _MOST_ARRAY_JOBS:
        raise ValueError(f"at most {_MOST_ARRAY_JOBS:,} jobs")
    return array


def _even_array(numbers: list[int], at_once: str) -> JobArray:
    steps = {after - before for before, after in pairwise(numbers)}
    step = steps.pop()
    if steps or step < 1 or (at_once and not at_once.isdecimal()):
        raise ValueError(f"{_ARRAY_FORMS}; a list only with even steps, e.g. 1,3,5: submit the others apart")
    return JobArray(numbers[0], numbers[-1], step, int(at_once or 0))


def read_pbs_date(text: str, now: datetime) -> float:
    """Return the time of ``[[CC]YY]MMDDhhmm[.SS]``: this machine's time zone, and what is left out is the next such."""
    digits, _, seconds = text.partition(".")
    if not (digits + seconds).isdecimal() or len(digits) not in (4, 6, 8, 10, 12) or len(seconds) not in (0, 2):
        raise ValueError(_DATE_FORMS)
    known = now.strftime("%Y%m%d%H%M")
    try:
        time = datetime.strptime(known[: 12 - len(digits)] + digits + (seconds or "00"), "%Y%m%d%H%M%S")
    except ValueError:
        raise ValueError(_DATE_FORMS) from None
    if len(digits) == 4 and time < now:
        time += timedelta(days=1)
    return time.timestamp()


def read_slurm_begin(text: str, now: datetime) -> float:
    """Return the time of ``--begin``: a date, a time of day, or ``now+2hours``."""
    if match := _LATER.fullmatch(text):
        unit = (match[2] or "seconds").removesuffix("s") + "s"
        return (now + timedelta(**{unit: int(match[1] or 0)})).timestamp()
    if match := _CLOCK.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in match.groups())
        if hour > 23 or minute > 59 or second > 59:
            raise ValueError(_BEGIN_FORMS)
        time = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return (time if time > now else time + timedelta(days=1)).timestamp()
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(_BEGIN_FORMS) from None

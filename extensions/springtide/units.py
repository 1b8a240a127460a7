"""Quantities people write in lab files and forms: memory, walltime, and how they are shown.

Memory follows the batch schedulers' and JupyterHub's custom: ``1G`` is 2**30 bytes.
"""

from __future__ import annotations

import re

_MEMORY_FACTORS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_MEMORY = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_WALLTIME_FACTORS = {"d": 86400, "h": 3600, "m": 60, "min": 60, "s": 1}
_WALLTIME_PART = re.compile(r"(\d{1,9})\s*(min|[dhms])", re.IGNORECASE)
_WALLTIME_CLOCK = re.compile(r"(?:(\d+)[-:])?(\d{1,6}):(\d{2}):(\d{2})")

MEMORY_FORMS = "a number with a unit: 512M, 2G, 1.5G, 1T"
WALLTIME_FORMS = "a duration: 90m, 2h, 1h30m, 1d, or HH:MM:SS"


def parse_memory(text: str | int) -> int:
    """Return the bytes that `text` ("512M", "2G", "1.5 GiB", or an integer of bytes) stands for.

    Raises
    ------
    ValueError
        If it is not a memory size, or not positive.
    """
    if isinstance(text, bool):
        raise ValueError(MEMORY_FORMS)
    match = _MEMORY.fullmatch(str(text).strip())
    if not match:
        raise ValueError(MEMORY_FORMS)
    number = int(float(match[1]) * _MEMORY_FACTORS[match[2].upper()])
    if number <= 0:
        raise ValueError(MEMORY_FORMS)
    return number


def parse_walltime(text: str | int) -> int:
    """Return the seconds that `text` ("2h", "1h30m", "01:30:00", "1d", or an integer of seconds) stands for.

    Raises
    ------
    ValueError
        If it is not a duration, or not positive.
    """
    if isinstance(text, bool):
        raise ValueError(WALLTIME_FORMS)
    stripped = str(text).strip()
    if stripped.isdecimal():
        seconds = int(stripped)
    elif clock := _WALLTIME_CLOCK.fullmatch(stripped):
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        seconds = days * 86400 + hours * 3600 + minutes * 60 + rest
    else:
        parts = _WALLTIME_PART.findall(stripped)
        if not parts or _WALLTIME_PART.sub("", stripped).strip():
            raise ValueError(WALLTIME_FORMS)
        seconds = sum(int(number) * _WALLTIME_FACTORS[unit.lower()] for number, unit in parts)
    if seconds <= 0:
        raise ValueError(WALLTIME_FORMS)
    return seconds


def format_memory(memory_bytes: int) -> str:
    """Return `memory_bytes` as people write it: the largest unit that keeps it short ("1.5G", "512M")."""
    for unit in ("T", "G", "M", "K"):
        factor = _MEMORY_FACTORS[unit]
        if memory_bytes >= factor:
            return f"{memory_bytes / factor:.4g}{unit}"
    return f"{memory_bytes}B"


def format_walltime(walltime_s: int) -> str:
    """Return `walltime_s` as HH:MM:SS, the form every batch scheduler reads."""
    hours, rest = divmod(walltime_s, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}"


def describe_duration(seconds: float) -> str:
    """Return a duration as people say it ("2 h 30 min", "45 s")."""
    whole = round(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    named = ((days, "d"), (hours, "h"), (minutes, "min"), (secs, "s"))
    parts = [f"{number} {unit}" for number, unit in named if number]
    return " ".join(parts[:2]) or "0 s"

"""Numbers with units, as people type them: ``2 d`` for a duration in seconds, ``5 mHz`` for a frequency in hertz.

Only what is plainly the same quantity is converted; another unit is refused rather than guessed at.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

_QUANTITY = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)\s*(.*)", re.DOTALL)
_PREFIXES = {
    "f": Fraction(1, 10**15),
    "p": Fraction(1, 10**12),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "µ": Fraction(1, 10**6),
    "μ": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
}
# Unit -> quantity and how many of its first unit.
_UNITS = {
    "s": ("time", Fraction(1)),
    "min": ("time", Fraction(60)),
    "h": ("time", Fraction(3600)),
    "d": ("time", Fraction(86400)),
    "yr": ("time", Fraction(31557600)),  # the Julian year
    "Hz": ("frequency", Fraction(1)),
    "m": ("length", Fraction(1)),
    "g": ("mass", Fraction(1)),
    "rad": ("angle", Fraction(1)),
    "deg": ("angle", Fraction(math.pi) / 180),
    "V": ("voltage", Fraction(1)),
    "W": ("power", Fraction(1)),
    "K": ("temperature", Fraction(1)),
    "B": ("bytes", Fraction(1)),
}
_PREFIXED = ("s", "Hz", "m", "g", "rad", "V", "W", "K", "B")
_SHOWN = {
    "time": "s, min, h, d, yr",
    "frequency": "Hz, mHz, kHz",
    "length": "m, km, pm",
    "mass": "g, kg",
    "angle": "rad, deg",
}


def read_quantity(text: str, unit: str) -> float:
    """Return the number that `text` is, in `unit`; without a unit it is one already.

    Raises
    ------
    ValueError
        If it is no number, or its unit is not one of the same quantity; the message says what is wrong.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if not match:
        raise ValueError("is not a number")
    number, given = match[1], match[2].strip()
    factor = Fraction(1) if given in ("", unit) else _factor(given, unit)
    # In fractions, 3 mHz are exactly the 0.003 Hz that somebody else types.
    try:
        return float(Fraction(number) * factor)
    except OverflowError:
        raise ValueError("is not a number") from None


def is_convertible(unit: str) -> bool:
    """Whether other units of the same quantity are known."""
    return _base(unit) is not None


def units_like(unit: str) -> str:
    """Return the known unit that `unit` is but for its capitals, "" where there is none."""
    return next((known for known in _UNITS if known != unit and known.lower() == unit.lower()), "")


def units_for(unit: str) -> str:
    """Return in which units a number in `unit` may be given, for people."""
    found = _base(unit)
    return _SHOWN.get(found[0], unit) if found else unit


def _factor(given: str, unit: str) -> Fraction:
    if not unit:
        raise ValueError(f"has the unit “{given[:20]}”, and is a number without one")
    source, target = _base(given), _base(unit)
    if source is None or target is None or source[0] != target[0]:
        raise ValueError(f"is in “{given[:20]}”, which is no unit for it")
    return source[1] / target[1]


def _base(unit: str) -> tuple[str, Fraction] | None:
    if unit in _UNITS:
        return _UNITS[unit]
    prefix, rest = unit[:1], unit[1:]
    if prefix in _PREFIXES and rest in _PREFIXED:
        quantity, factor = _UNITS[rest]
        return quantity, factor * _PREFIXES[prefix]
    return None

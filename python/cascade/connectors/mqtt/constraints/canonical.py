"""One spelling for each JSON value, so that two programs sign the same bytes (RFC 8785)."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["canonical"]

# Where ECMAScript changes from digits to exponents (ECMA-262, Number::toString).
_MOST_INTEGER_DIGITS = 21
_MOST_LEADING_ZEROS = 6


def canonical(value: Any) -> bytes:
    """The value's canonical JSON (RFC 8785): sorted names, no spaces, numbers as ECMAScript writes them.

    Raises:
        ValueError: it has no such form: an integer that no double is written as (RFC 7493 section 2.2), NaN, an
            infinity, a lone surrogate, or what JSON does not know.
    """
    return _text(value).encode()


def _text(value: Any) -> str:
    match value:
        case None | bool():
            return json.dumps(value)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case int():
            return _integer(value)
        case float():
            return _number(value)
        case list() | tuple():
            return f"[{','.join(map(_text, value))}]"
        case dict() if all(isinstance(name, str) for name in value):
            # By UTF-16 code units, which differs from code points beyond U+FFFF (RFC 8785 section 3.2.3).
            names = sorted(value, key=lambda name: name.encode("utf-16-be"))
            return f"{{{','.join(f'{_text(name)}:{_text(value[name])}' for name in names)}}}"
        case _:
            raise ValueError(f"{type(value).__name__} has no canonical form")


def _integer(value: int) -> str:
    """As the double that other languages read it as, if that is written as it is: so no two integers share a form."""
    try:
        text = _number(float(value))
    except OverflowError:
        text = ""
    if text != str(value):
        raise ValueError("an integer beyond 2^53 that no double is written as has no canonical form")
    return text


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("NaN and infinities have no canonical form")
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # The value is 0.digits times ten to the power of point.
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    sign = "-" if value < 0 else ""
    if len(digits) <= point <= _MOST_INTEGER_DIGITS:
        return f"{sign}{digits.ljust(point, '0')}"
    if 0 < point <= _MOST_INTEGER_DIGITS:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -_MOST_LEADING_ZEROS < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    scientific = f"{digits[0]}.{digits[1:]}" if digits[1:] else digits
    return f"{sign}{scientific}e{point - 1:+d}"

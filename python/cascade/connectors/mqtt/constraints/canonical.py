"""One spelling for each JSON value, so that two programs sign the same bytes (RFC 8785)."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["canonical"]

_MAX_INTEGER = 2**53 - 1
# Where ECMAScript changes from digits to exponents (ECMA-262, Number::toString).
_MOST_INTEGER_DIGITS = 21
_MOST_LEADING_ZEROS = 6


def canonical(value: Any) -> bytes:
    """The value's canonical JSON (RFC 8785): sorted names, no spaces, numbers as ECMAScript writes them.

    Raises:
        ValueError: it has no such form: an integer beyond 2^53 - 1 (RFC 7493 section 2.2), NaN, an infinity,
            a lone surrogate, or what JSON does not know.
    """
    return _text(value).encode()


def _text(value: Any) -> str:
    match value:
        case None | bool():
            return json.dumps(value)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case int():
            if abs(value) > _MAX_INTEGER:
                raise ValueError("an integer beyond 2^53 - 1 has no canonical form")
            return str(int(value))
        case float():
            return _number(value)
        case list() | tuple():
            return f"[{','.join(map(_text, value))}]"
        case dict():
            # By UTF-16 code units, which differs from code points beyond U+FFFF (RFC 8785 section 3.2.3).
            names = sorted(value, key=lambda name: name.encode("utf-16-be"))
            return f"{{{','.join(f'{_text(name)}:{_text(value[name])}' for name in names)}}}"
        case _:
            raise ValueError(f"{type(value).__name__} has no canonical form")


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

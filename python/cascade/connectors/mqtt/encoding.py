"""Payloads to bytes and back without the compiled core; byte for byte what the core does.

The json module's C encoder does the work wherever its result is the one wanted. What it refuses, or
renders otherwise than we do, goes through ``_Slow``, which decides everything by itself. Beyond what json
knows: dataclass instances (their fields in order), dates and times (``isoformat()``, which is RFC 3339: UTC is
``+00:00``, a naive one has no offset), UUID and path (their text), other enums (their value).
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import pathlib
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

__all__ = [
    "MAX_DEPTH",
    "TooLarge",
    "Undecodable",
    "Unserialisable",
    "decode_json",
    "encode_json",
    "encode_payload",
    "encode_raw",
]

MAX_DEPTH = 128
"""How deeply arrays and objects may be nested, both ways."""

_MAX_DIGITS = 4_300  # as many as Python itself reads back by default: sys.int_info.default_max_str_digits

Default = Callable[[Any], Any] | None


class Unserialisable(ValueError):
    """The payload has no JSON form; the text says why, with nothing of the payload but type names."""


class TooLarge(ValueError):
    """The payload takes more bytes than allowed."""


class Undecodable(ValueError):
    """A payload is not JSON: ``reason`` is ``not_utf8``, ``not_json`` or ``too_deep``, and others of a batch."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def encode_payload(value: Any, default: Default, limit: int) -> bytes:
    """The bytes of a payload: str as UTF-8 and bytes-like objects as they are, None as nothing, all else as JSON.

    Args:
        default: called with what JSON and this module do not know; its result is encoded instead.
        limit: how many bytes the payload may take.

    Raises:
        Unserialisable: the payload, or what ``default`` returned or raised, has no JSON form.
        TooLarge: more than ``limit`` bytes.
    """
    raw = encode_raw(value, limit)
    return encode_json(value, default, limit) if raw is None else raw


def encode_raw(value: Any, limit: int) -> bytes | None:
    """The bytes of a payload that goes as it is; None for one that becomes JSON.

    Raises:
        TooLarge: more than ``limit`` bytes.
    """
    kind = type(value)
    if kind is dict:
        return None
    if issubclass(kind, str):
        return _within(limit, _utf8(value))
    if kind is bytes:
        return _within(limit, value)
    if value is None:
        return b""
    try:
        view = memoryview(value)
    except Exception:
        return None
    with view:
        if view.ndim == 0:  # a number of numpy's
            return None
        if view.nbytes > limit:
            raise TooLarge(f"the payload is over {limit} bytes")
        return view.tobytes()


def decode_json(data: bytes) -> Any:
    """One JSON value of any type (RFC 8259) from the whole of ``data``; an empty payload is an empty dict.

    Raises:
        Undecodable: not strict UTF-8, not JSON (NaN, lone surrogate escapes and integers of more than
            4,300 digits are not), or nested deeper than 128 levels.
    """
    if not data:
        return {}
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError:
        raise Undecodable("not_utf8") from None
    if _is_deep(text):
        raise Undecodable("too_deep")
    decoder = _LONG_DECODER if len(text) > _MAX_DIGITS and _LONG_NUMBER.search(text) else _DECODER
    try:
        value = decoder.decode(text)
    except (ValueError, RecursionError):
        raise Undecodable("not_json") from None
    if _SURROGATE_ESCAPE.search(text) and any(match[1] for match in _ESCAPES.finditer(text)):
        raise Undecodable("not_json")
    return value


def encode_json(value: Any, default: Default, limit: int) -> bytes:
    """A payload as JSON; raises as ``encode_payload``."""
    try:
        text = _ENCODER.encode(value)
    except Exception:
        # A type that json does not know, NaN, a cycle, a huge int: the slow way knows, or says what is wrong.
        return _Slow(default, limit).encode(value)
    if len(text) > limit:  # before anything looks through all of it
        raise TooLarge(f"the payload is over {limit} bytes")
    if _is_deep(text) or (len(text) > _MAX_DIGITS and _LONG_NUMBER.search(text)):
        return _Slow(default, limit).encode(value)
    return _within(limit, _utf8(text))


def _within(limit: int, data: bytes) -> bytes:
    if len(data) > limit:
        raise TooLarge(f"the payload is over {limit} bytes")
    return data


def _utf8(text: str) -> bytes:
    """UTF-8, which cannot hold the lone surrogates that a str can: each becomes U+FFFD."""
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text).encode()


def _is_deep(text: str) -> bool:
    """Whether more than ``MAX_DEPTH`` brackets outside strings are open at once."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for match in _BRACKETS.finditer(text):
        bracket = match[0]
        if bracket in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif bracket in "]}":
            depth = max(depth - 1, 0)
    return False


class _Slow:
    """One payload on the slow way. Types are told by ancestry alone, as in the json module, never by ``__class__``."""

    def __init__(self, default: Default, limit: int) -> None:
        self.default = default
        self.limit = limit
        self.out = bytearray()

    def encode(self, value: Any) -> bytes:
        try:
            self.value(value, 0)
        except RecursionError:
            raise Unserialisable("no room left on the stack") from None
        return bytes(self.out)

    def write(self, text: str, certain: int | None = None) -> None:
        """Append, unless that goes beyond the limit; separators are written without asking."""
        if len(self.out) + (len(text) if certain is None else certain) > self.limit:
            raise TooLarge(f"the payload is over {self.limit} bytes")
        self.out += text.encode()

    def string(self, value: str) -> None:
        utf8 = _utf8(value)
        self.write(_ENCODER.encode(utf8.decode()), len(utf8) + 2)
        if len(self.out) > self.limit:
            raise TooLarge(f"the payload is over {self.limit} bytes")

    def value(self, value: Any, depth: int) -> None:
        """``depth`` is how many containers, hooks and enums stand around the value."""
        kind = type(value)
        if issubclass(kind, str):
            self.string(value)
        elif value is None or value is True or value is False:
            self.write(_LITERALS[value])
        elif issubclass(kind, int):
            self.write(_int(value))
        elif issubclass(kind, float):
            self.write(float.__repr__(value) if math.isfinite(value) else "null")
        elif issubclass(kind, list):
            self.array(list.__iter__(value), depth)
        elif issubclass(kind, tuple):
            self.array(tuple.__iter__(value), depth)
        elif issubclass(kind, dict):
            self.mapping(value, depth)
        else:
            self.other(value, depth)

    def array(self, items: Iterator[Any], depth: int) -> None:
        depth = _deeper(depth)
        self.write("[")
        for index, item in enumerate(items):
            if index:
                self.out += b","
            self.value(item, depth)
        self.write("]")

    def mapping(self, value: dict[Any, Any], depth: int) -> None:
        depth = _deeper(depth)
        self.write("{")
        for index, (key, item) in enumerate(_pairs(value)):
            if index:
                self.out += b","
            self.key(key)
            self.out += b":"
            self.value(item, depth)
        self.write("}")

    def key(self, key: Any) -> None:
        """A key as the json module writes it: ``True`` is ``"true"``, 1.5 is ``"1.5"``."""
        kind = type(key)
        if issubclass(kind, str):
            self.string(key)
            return
        self.write('"')
        if key is None or key is True or key is False:
            self.write(_LITERALS[key])
        elif issubclass(kind, int):
            self.write(_int(key))
        elif issubclass(kind, float):
            text = float.__repr__(key)
            self.write(_NOT_FINITE.get(text, text))
        else:
            raise Unserialisable(f"a key of type {kind.__name__} is not serialisable")
        self.write('"')

    def other(self, value: Any, depth: int) -> None:
        """What the json module does not know."""
        kind = type(value)
        if issubclass(kind, enum.Enum):
            self.value(_calling(value, getattr, value, "value"), _deeper(depth))
        elif _calling(value, hasattr, kind, "__dataclass_fields__"):
            self.fields(value, _calling(value, _field_names, value), _deeper(depth))
        elif issubclass(kind, (datetime.date, datetime.time)):
            self.string(_calling(value, _isoformat, value))
        elif issubclass(kind, (uuid.UUID, pathlib.PurePath)):
            self.string(_calling(value, str, value))
        elif self.default is None:
            raise _unknown(value)
        else:
            depth = _deeper(depth)
            self.value(_calling(value, self.default, value), depth)

    def fields(self, value: Any, names: list[str], depth: int) -> None:
        self.write("{")
        for index, name in enumerate(names):
            if index:
                self.out += b","
            self.string(name)
            self.out += b":"
            self.value(_calling(value, getattr, value, name), depth)
        self.write("}")


def _pairs(value: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    if type(value) is dict:
        try:
            yield from value.items()
        except RuntimeError:
            raise Unserialisable("a dict changed while it was being serialised") from None
    elif dict.__len__(value):
        # A subclass says itself what its items are, in which order: OrderedDict, for one.
        for item in _calling(value, _items, value):
            if not issubclass(type(item), tuple) or tuple.__len__(item) != 2:
                raise _unknown(value)
            yield tuple.__getitem__(item, 0), tuple.__getitem__(item, 1)


def _items(value: dict[Any, Any]) -> list[Any]:
    return list(value.items())


def _field_names(value: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(value)]


def _isoformat(value: datetime.date | datetime.time) -> str:
    text = value.isoformat()
    if not issubclass(type(text), str):
        raise TypeError("isoformat() must return a str")
    return text


def _int(value: int) -> str:
    try:
        text = int.__repr__(value)
    except ValueError:
        text = ""
    if not 0 < len(text.lstrip("-")) <= _MAX_DIGITS:
        raise Unserialisable(f"an integer of more than {_MAX_DIGITS} digits")
    return text


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise Unserialisable(f"nested deeper than {MAX_DEPTH} levels")
    return depth + 1


def _unknown(value: Any) -> Unserialisable:
    return Unserialisable(f"an object of type {type(value).__name__} is not serialisable")


def _calling(value: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run code of the payload's. The name of what it raises is told, the text is not: it may hold the payload."""
    try:
        return function(*arguments)
    except Exception as error:
        raised = type(error).__name__
    raise Unserialisable(f"an object of type {type(value).__name__} raised {raised} while being serialised")


def _refused(text: str) -> Any:
    raise ValueError


def _long_int(text: str) -> int:
    return int(text) if len(text.lstrip("-")) <= _MAX_DIGITS else _refused(text)


def _long_float(text: str) -> float:
    return _refused(text) if _LONG_NUMBER.match(text.lstrip("-")) else float(text)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_DECODER = json.JSONDecoder(parse_constant=_refused)
_LONG_DECODER = json.JSONDecoder(parse_constant=_refused, parse_int=_long_int, parse_float=_long_float)

_LITERALS = {None: "null", True: "true", False: "false"}
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

_LONG_NUMBER = re.compile(rf"(?<![0-9])[0-9]{{{_MAX_DIGITS + 1}}}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
# Every escape of a valid text: a pair of surrogates, a lone one (the group), any other.
_ESCAPES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F])|\\.", re.DOTALL)
# A string, to be passed over, or a bracket.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)

"""What the json module makes of a payload, with the differences that docs/wire.md names; and the fallback's codec."""

import importlib.util
import json
import math
import re
from types import ModuleType

MAX_DEPTH = 128
SURROGATE = re.compile("[\ud800-\udfff]")


def load(path: str) -> ModuleType:
    """The fallback's module, without the package around it."""
    spec = importlib.util.spec_from_file_location("encoding", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Refused(ValueError):
    pass


def refuse(*_: object) -> None:
    raise Refused


def encode(value: object, limit: int) -> bytes:
    """Refused where it nests too deeply or takes more than ``limit`` bytes."""
    text = json.dumps(finite(value, 0), separators=(",", ":"), ensure_ascii=False)
    encoded = SURROGATE.sub("\ufffd", text).encode()
    return encoded if len(encoded) <= limit else refuse()


def finite(value: object, depth: int) -> object:
    """Values that are no numbers are null; keys stay as the json module writes them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, (list, tuple, dict, complex)):
        return value
    if depth == MAX_DEPTH:
        refuse()
    if isinstance(value, complex):
        return finite(hook(value), depth + 1)
    if isinstance(value, dict):
        return {key: finite(item, depth + 1) for key, item in value.items()}
    return [finite(item, depth + 1) for item in value]


def hook(value: complex) -> list[float]:
    """The ``default`` of the payloads."""
    return [value.real, value.imag]


class Last(complex):
    """Once nobody has it any more, it changes what is being written."""

    def __new__(cls, value: complex, dicts: list[dict[object, object]]) -> "Last":
        last = super().__new__(cls, value)
        last.dicts = dicts
        return last

    def __del__(self) -> None:
        for items in self.dicts:
            items.clear()


def vandal(lists: list[list[object]], dicts: list[dict[object, object]]) -> object:
    """A ``default`` that changes all that is being written."""

    def default(value: complex) -> list[object]:
        for items in lists:
            items[: len(items) // 2] = []
        for place, items in enumerate(dicts):
            if place % 2:
                items.clear()
            elif items:
                # Of the same size, which is what is looked at.
                items.pop(next(iter(items)))
                items[str(value)] = Last(value, dicts)
        return [value.real]

    return default


def decode(data: bytes) -> object:
    """Refused for anything but one JSON value in strict UTF-8, not too deep, without NaN and lone surrogates."""
    if not data:
        return {}
    try:
        value = json.loads(str(data, "utf-8"), parse_constant=refuse, object_pairs_hook=unpaired)
    except (ValueError, RecursionError):
        refuse()
    return plain(value, 0)


def unpaired(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Looked through here, since of a key that comes twice only the last value is kept."""
    for _, value in pairs:
        plain(value, 0)
    return dict(pairs)


def plain(value: object, depth: int) -> object:
    if isinstance(value, str):
        return refuse() if SURROGATE.search(value) else value
    if isinstance(value, (list, dict)):
        if depth == MAX_DEPTH:
            refuse()
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            plain(item, depth + 1)
    return value

"""Types that a payload may hold, under the names by which the vectors of encoding call them."""

from __future__ import annotations

import enum
import math
from array import array
from collections import Counter, OrderedDict, defaultdict, namedtuple
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, ClassVar
from uuid import UUID

__all__ = ["NAMES"]


class Text(str):
    pass


class Number(int):
    pass


class Real(float):
    pass


class Items(list[Any]):
    def __iter__(self) -> Any:
        raise AssertionError("the json module reads the list itself")


class Mapping(dict[str, Any]):
    pass


class Loud(str):
    def __str__(self) -> str:
        raise AssertionError("the json module reads the text itself")

    __repr__ = __str__


class LoudNumber(int):
    def __repr__(self) -> str:
        raise AssertionError("the json module has int's own digits")

    __str__ = __index__ = __repr__  # type: ignore[assignment]


class Mirror(dict[str, Any]):
    def items(self) -> Any:
        return ((key.upper(), value) for key, value in super().items())


class Crooked(dict[str, Any]):
    def items(self) -> Any:
        return [("a", 1, 2)]


class Broken(dict[str, Any]):
    def items(self) -> Any:
        raise OSError("a secret")


class Colour(str, enum.Enum):  # noqa: UP042 - as older code has it
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    YES = "yes"


class Plain(enum.Enum):
    ONE = 1
    NESTED = (1, {"a": None})


class Flagged(enum.Flag):
    A = 1


@dataclass
class Point:
    x: Any
    y: Any
    scale: ClassVar[int] = 2
    extra: InitVar[int] = 0


@dataclass(slots=True, frozen=True)
class Slots:
    name: str
    inner: Any


@dataclass
class Hidden:
    _a: int = field(default=1, repr=False)


class NoZone(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        raise LookupError("a secret")


Row = namedtuple("Row", "a b")


def ordered(first: str, second: str) -> OrderedDict[str, int]:
    """An OrderedDict whose order is not that of the dict beneath."""
    mapping = OrderedDict([(first, 0), (second, 1)])
    mapping.move_to_end(first)
    return mapping


def missing() -> Point:
    point = Point(1, 2)
    del point.y
    return point


def cycle(items: list[Any]) -> list[Any]:
    items.append(items)
    return items


def dict_cycle() -> dict[str, Any]:
    mapping: dict[str, Any] = {"a": 1}
    mapping["self"] = {"again": mapping}
    return mapping


def nested(levels: int, *inner: Any) -> list[Any]:
    value = list(inner)
    for _ in range(levels - 1):
        value = [value]
    return value


def nested_dicts(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


NAMES: dict[str, Any] = {
    "nan": math.nan,
    "inf": math.inf,
    "UTC": UTC,
    **{
        item.__name__: item
        for item in (
            *(Text, Number, Real, Items, Mapping, Loud, LoudNumber, Mirror, Crooked, Broken),
            *(Colour, Level, Word, Plain, Flagged, Point, Slots, Hidden, NoZone, Row),
            *(ordered, missing, cycle, dict_cycle, nested, nested_dicts),
            *(Counter, defaultdict, array, date, datetime, time, timedelta, timezone),
            *(Decimal, PurePosixPath, UUID),
        )
    },
}

"""Messages that look alike: what a decoder remembers of the last ones never shows in the next one's value."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from cascade.connectors.mqtt.encoding import Undecodable, decode_json

Decode = Callable[[bytes], Any]

EVENT = {
    "v": "1.0",
    "ts": "2025-03-14T15:09:26.535897+00:00",
    "source": "worker-07",
    "seq": 41,
    "body": {"type": "TaskStateEvent", "task_id": "t-41", "duration_ms": 12.5, "error": None, "metadata": {}},
}
LEAVES = [
    None, True, False, 0, -1, 12, 123, 10**17, 10**18, -(10**40), 0.5, -0.0, 1e-7, 1e300, 12.0, "", "x", "12",
    "quo\"te", "back\\slash", "ü", "\U0001f600", "tab\t", "\u2028", "y" * 300,
]  # fmt: skip


@pytest.fixture
def decode(backend: str) -> Decode:
    if backend == "native":
        from cascade.connectors.mqtt import _native

        return _native.decode
    return decode_json


def reference(data: bytes) -> Any:
    """By the other parser, which remembers nothing."""
    try:
        return decode_json(data)
    except Undecodable as error:
        return error.reason


def outcome(decode: Decode, data: bytes) -> Any:
    try:
        return decode(data)
    except Undecodable as error:
        return error.reason
    except ValueError as error:
        return str(error)


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types, in the same order."""
    return repr(one) == repr(other)


def compact(value: Any, **how: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), **how).encode()


@pytest.mark.parametrize("layout", [{}, {"separators": None}, {"indent": 1, "separators": None}])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_every_value_in_turn_in_one_place(decode, layout, ascii_only):
    for _ in range(3):
        for value in LEAVES:
            event = {**EVENT, "seq": value, "body": {**EVENT["body"], "error": value}}
            data = json.dumps(event, ensure_ascii=ascii_only, **{"separators": (",", ":"), **layout}).encode()
            assert same(outcome(decode, data), json.loads(data))


def test_a_number_that_begins_like_the_one_before(decode):
    for text in ("1", "12", "1", "1.5", "1e3", "1E+2", "-1", "1", "10", "1.50", "0", "-0", "0.0", "1"):
        data = b'{"a":%s,"b":{"c":%s}}' % (text.encode(), text.encode())
        assert same(outcome(decode, data), json.loads(data))


@pytest.mark.parametrize(
    "wrong", ["01", "1.", ".5", "1e", "+1", "--1", "nul", "NaN", '"open', '"\n"', '"\\x"', '"\\ud800"']
)
def test_what_is_no_json_in_the_place_of_a_value(decode, wrong):
    for _ in range(3):
        assert outcome(decode, compact({"a": 1, "b": 2})) == {"a": 1, "b": 2}
        assert outcome(decode, b'{"a":%s,"b":2}' % wrong.encode()) == "not_json"


def test_bytes_that_are_not_utf_8_in_the_place_of_a_text(decode):
    for _ in range(3):
        assert outcome(decode, b'{"a":"x","b":2}') == {"a": "x", "b": 2}
        assert outcome(decode, b'{"a":"\xff","b":2}') == "not_utf8"


def test_a_key_that_comes_twice(decode):
    for number in range(5):
        assert outcome(decode, b'{"a":%d,"b":0,"a":7}' % number) == {"a": 7, "b": 0}


def test_dicts_are_not_shared(decode):
    data = compact(EVENT)
    for _ in range(3):
        event = decode(data)
        assert same(event, EVENT)
        event["body"]["metadata"]["mine"] = 1
        event["body"]["error"] = event["new"] = "mine"
        del event["v"]


def test_values_that_rest_after_they_have_changed(decode):
    for number in range(3_000):
        event = {**EVENT, "seq": number if number < 1_100 else 7, "source": f"worker-{number // 500}"}
        assert decode(compact(event)) == event


def test_more_shapes_than_are_remembered(decode):
    for _ in range(3):
        for number in range(100):
            event = {f"only in {number}": number, "in all": {"x": number}}
            assert same(decode(compact(event)), event)


@pytest.mark.parametrize("backend", ["native"], indirect=True)
@pytest.mark.parametrize("seed", range(10))
def test_mutated_messages(decode, seed):
    """Bytes changed, taken out, put in and doubled: whatever the template, the value is the parser's."""
    chance = random.Random(seed)
    alphabet = b'{}[]",:\\0123456789.eE+-ntfu \n\x00\xc3\xbc\xff'
    data = compact(EVENT, ensure_ascii=False)
    for _ in range(1_500):
        mutant = bytearray(data)
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(mutant))
            match chance.randrange(4):
                case 0:
                    mutant[at] = chance.choice(alphabet)
                case 1:
                    mutant.insert(at, chance.choice(alphabet))
                case 2:
                    del mutant[at : at + chance.randrange(4)]
                case 3:
                    mutant[at:at] = mutant[at : at + chance.randrange(20)]
        assert same(outcome(decode, bytes(mutant)), reference(bytes(mutant))), bytes(mutant)

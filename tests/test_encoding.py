"""Payloads to bytes and back: the two implementations against the vectors, the json module and each other."""

from __future__ import annotations

import gc
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cascade.connectors.mqtt import encoding
from payload_types import NAMES

VECTORS = Path(__file__).parent / "vectors"
NO_LIMIT = 1 << 62


def load(name: str) -> list[Any]:
    return [
        pytest.param(vector, id=vector["name"])
        for vector in json.loads((VECTORS / name).read_text(encoding="utf-8"))
    ]  # fmt: skip


class Refused(NamedTuple):
    why: str


class Codec(NamedTuple):
    """One implementation; what it refuses is a value here, so that two can be compared."""

    encode: Callable[..., bytes | Refused]
    decode: Callable[[bytes], Any]


def native() -> Codec:
    from cascade.connectors.mqtt import _native

    def encode(value: Any, default: Any = None, limit: int = NO_LIMIT) -> bytes | Refused:
        try:
            return _native.encode(value, default, limit)
        except OverflowError:
            return Refused("too_large")
        except ValueError as error:
            return Refused(str(error))

    def decode(data: bytes) -> Any:
        try:
            return _native.decode(data)
        except ValueError as error:
            return Refused(str(error))

    return Codec(encode, decode)


def python() -> Codec:
    def encode(value: Any, default: Any = None, limit: int = NO_LIMIT) -> bytes | Refused:
        try:
            return encoding.encode_payload(value, default, limit)
        except encoding.TooLarge:
            return Refused("too_large")
        except encoding.Unserialisable as error:
            return Refused(str(error))

    def decode(data: bytes) -> Any:
        try:
            return encoding.decode_json(data)
        except encoding.Undecodable as error:
            return Refused(error.reason)

    return Codec(encode, decode)


@pytest.fixture
def codec(backend: str) -> Codec:
    return {"native": native, "python": python}[backend]()


def evaluate(text: str) -> Any:
    return eval(text, dict(NAMES))


@pytest.mark.parametrize("vector", load("json_encode.json"))
def test_encode_vector(codec: Codec, vector: dict[str, Any]) -> None:
    default = evaluate(vector["default"]) if "default" in vector else None
    result = codec.encode(evaluate(vector["value"]), default, vector.get("limit", NO_LIMIT))
    if "refused" in vector:
        assert result == Refused(vector["refused"])
    else:
        text = vector["json"] if "json" in vector else evaluate(vector["json_value"])
        assert result == text.encode()


@pytest.mark.parametrize("vector", load("json_decode.json"))
def test_decode_vector(codec: Codec, vector: dict[str, Any]) -> None:
    data = content(vector)
    result = codec.decode(data)
    if "refused" in vector:
        assert result == Refused(vector["refused"])
    else:
        expected = evaluate(vector["value"]) if "value" in vector else json.loads(data)
        assert exactly(result) == exactly(expected)


def content(vector: dict[str, Any]) -> bytes:
    if "hex" in vector:
        return bytes.fromhex(vector["hex"])
    text: str = vector["text"] if "text" in vector else "".join(part * times for part, times in vector["parts"])
    return text.encode()


def exactly(value: Any) -> Any:
    """A form in which 1, 1.0 and True, or 0.0 and -0.0, differ."""
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exactly(item) for item in value]
    return type(value), repr(value)


# Against the json module, and each other.

# A codec has no state that one example could leave to the next; how long an example takes is not asked.
drawn = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

KEYS = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none())
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(min_value=-(1 << 200), max_value=1 << 200),
        st.floats(),
        st.text(),
        st.text(alphabet=st.sampled_from('ab"\\\n\x01\x7fé中😀'), min_size=12, max_size=90),
    ),
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner), st.dictionaries(st.text(), inner)
    ),
    max_leaves=30,
)


def as_documented(value: Any) -> Any:
    """What the json module is given to write what we write."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [as_documented(item) for item in value]
    if isinstance(value, dict):
        return {key: as_documented(item) for key, item in value.items()}
    return value


@drawn
@given(VALUES)
def test_encode_as_the_json_module(codec: Codec, value: Any) -> None:
    text = json.dumps([as_documented(value)], separators=(",", ":"), ensure_ascii=False)
    assert codec.encode([value]) == text.encode()


@drawn
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_as_repr(codec: Codec, value: float) -> None:
    assert codec.encode(value) == repr(value).encode()


@pytest.mark.parametrize("escaped", ['"', "\\", "\n", "\x00", "\x1f"])
def test_escapes_anywhere_in_a_text(codec: Codec, escaped: str) -> None:
    # Neighbours of what is escaped, among them a byte above 0x7F.
    plain = "a !#[]\x7fü" * 10
    for at in range(len(plain)):
        for text in (plain[:at] + escaped + plain[at:], escaped + plain[:at] + escaped + escaped):
            assert codec.encode([text]) == json.dumps([text], ensure_ascii=False).encode()


@drawn
@given(st.lists(st.text(alphabet=st.characters(exclude_categories=()))))
def test_lone_surrogates(codec: Codec, texts: list[str]) -> None:
    clean = [re.sub("[\ud800-\udfff]", "\ufffd", text) for text in texts]
    assert codec.encode(texts) == json.dumps(clean, separators=(",", ":"), ensure_ascii=False).encode()


@drawn
@given(VALUES)
def test_decode_as_the_json_module(codec: Codec, value: Any) -> None:
    text = json.dumps(as_documented(value))
    assert exactly(codec.decode(text.encode())) == exactly(json.loads(text))


MANGLED = st.one_of(
    st.binary(),
    st.text(alphabet=st.sampled_from('[]{}",:0123456789.eE+-\\untrfalsdDbc8 \n')).map(str.encode),
    st.tuples(VALUES, st.integers(0, 1 << 16), st.binary(min_size=1, max_size=2)).map(
        lambda parts: mangle(json.dumps(as_documented(parts[0])).encode(), parts[1], parts[2])
    ),
)


def mangle(data: bytes, at: int, instead: bytes) -> bytes:
    at %= len(data) + 1
    return data[:at] + instead + data[at + 1 :]


@drawn
@given(MANGLED)
def test_decode_as_the_other(codec: Codec, data: bytes) -> None:
    assert exactly(codec.decode(data)) == exactly(python().decode(data))


@drawn
@given(VALUES, st.integers(0, 200))
def test_stop_at_the_limit_as_the_other(codec: Codec, value: Any, limit: int) -> None:
    payload = [value, {"time": NAMES["date"](2025, 1, 2)}, value, object()]
    assert codec.encode(payload, None, limit) == python().encode(payload, None, limit)
    assert codec.encode(payload, type_name, limit) == python().encode(payload, type_name, limit)


def type_name(value: object) -> str:
    return type(value).__name__


# Hooks that do what they should not.


@pytest.mark.parametrize("change", ["clear", "grow", "replace"])
def test_a_hook_changes_the_dict_that_is_written(codec: Codec, change: str) -> None:
    payload: dict[str, Any] = {f"key {n}": object() for n in range(100)}

    def default(value: object) -> str:
        if change == "clear":
            payload.clear()
        elif change == "grow":
            payload[f"more {len(payload)}"] = value
        else:
            payload.pop(next(iter(payload)))
            payload[f"more {id(value)} {len(payload)}"] = "x" * 100
            payload["again"] = payload.pop("again", 0)
        gc.collect()
        return "x"

    assert codec.encode(payload, default, 1 << 20) == Refused("a dict changed while it was being serialised")


@pytest.mark.parametrize("at", ["key", "value"])
def test_what_a_hook_takes_out_of_the_dict_clears_it_at_its_end(codec: Codec, at: str) -> None:
    payload: dict[Any, Any] = {}
    rubbish: list[bytes] = []

    class Last:
        def __del__(self) -> None:
            payload.clear()
            rubbish.extend(b"A" * size for size in range(200, 2000, 8) for _ in range(20))

    class Key(str):
        last: Last

    def default(value: object) -> str:
        if at == "value":
            payload["it"] = 0
        else:
            del payload["it"]
            payload["it"] = 0
        return "x"

    key = Key("it")
    if at == "key":
        key.last = Last()
    payload[key] = Last() if at == "value" else object()
    del key
    payload |= {f"key {number}": number for number in range(8)}
    whole = '{"it":"x",' + ",".join(f'"key {number}":{number}' for number in range(8)) + "}"
    # Nobody says when the last reference to it goes: within the encoding, or behind it.
    changed = Refused("a dict changed while it was being serialised")
    assert codec.encode(payload, default, 1 << 20) in (changed, whole.encode())


def test_a_hook_changes_the_list_that_is_written(codec: Codec) -> None:
    shrinking: list[Any] = [object() for _ in range(100)]

    def shrink(value: object) -> str:
        shrinking.clear()
        return "x"

    assert codec.encode(shrinking, shrink) == b'["x"]'

    growing: list[Any] = [object()]

    def grow(value: object) -> str:
        growing.append(value)
        return "x"

    assert codec.encode(growing, grow, 1000) == Refused("too_large")


def test_a_hook_encodes_by_itself(codec: Codec) -> None:
    def default(value: Any) -> Any:
        inner = codec.encode({"inner": [value.real], "text": "é" * 50}, default)
        assert isinstance(inner, bytes)
        return inner.decode()

    assert (
        codec.encode({"a": 1j, "b": [2j]}, default)
        == json.dumps(
            {
                "a": json.dumps({"inner": [0.0], "text": "é" * 50}, separators=(",", ":"), ensure_ascii=False),
                "b": [json.dumps({"inner": [0.0], "text": "é" * 50}, separators=(",", ":"), ensure_ascii=False)],
            },
            separators=(",", ":"),
            ensure_ascii=False,
        ).encode()
    )


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_within_a_hook_is_not_swallowed(codec: Codec, interrupt: type[BaseException]) -> None:
    def default(value: object) -> Any:
        raise interrupt

    with pytest.raises(interrupt):
        codec.encode([object()], default)


def test_what_is_refused_leaves_no_reference(codec: Codec) -> None:
    item = object()
    payload = {"a": [item, {"b": (item,)}]}
    before = sys.getrefcount(item)
    for _ in range(100):
        assert isinstance(codec.encode(payload), Refused)
        assert isinstance(codec.encode(payload, str), bytes)
    gc.collect()
    assert sys.getrefcount(item) == before

"""Dicts that look alike: what an encoder remembers of the last ones never shows in the next one's bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cascade.connectors.mqtt.encoding import encode_payload

Encode = Callable[..., bytes]


@pytest.fixture
def encode(backend: str) -> Encode:
    if backend == "native":
        from cascade.connectors.mqtt import _native

        return _native.encode
    return lambda value, default=None: encode_payload(value, default, 1 << 20)


def stdlib(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# The same few objects over and over, as keys and values of programs are.
KEYS = [*"abcdef", "type", "täglich", 'quo"te', "k" * 70]
LEAVES = [None, True, False, 0, 1, -(10**30), 0.5, 1e-7, "", "plain", 'esc\n"aped', "ü" * 40, "v" * 200]
dicts = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=7) | st.lists(inner, max_size=3),
    max_leaves=12,
)


# The fixture gives a function, the same for every example.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(dicts, min_size=1, max_size=30))
def test_a_stream_of_events_from_few_objects(encode, events):
    for event in events + events:
        assert encode({"event": event}) == stdlib({"event": event})


def test_every_value_in_turn_in_one_place(encode):
    event = {"before": "x", "place": None, "behind": 1}
    for _ in range(3):
        for value in [*LEAVES, {}, [], {"inner": 1}, *LEAVES]:
            event["place"] = value
            assert encode(event) == stdlib(event)


def test_shapes_that_part_at_each_place(encode):
    keys = [f"key{number}" for number in range(6)]
    for _ in range(3):
        for place in range(6):
            for other in ("x", "y"):
                event = {(other if at == place else key): at for at, key in enumerate(keys)}
                assert encode(event) == stdlib(event)


def test_more_shapes_than_are_remembered(encode):
    for _ in range(5):
        for number in range(200):
            event = {f"only in {number}": number, "in all": "x"}
            assert encode(event) == stdlib(event)


def test_keys_that_are_equal_and_not_the_same(encode):
    """Keys made at run time are other objects each time."""
    for number in range(50):
        event = {"".join(["a", "b"]): number, str(number % 3): None, 7: "seven"}
        assert encode(event) == stdlib(event)


def test_a_hook_that_encodes_dicts_of_the_same_shape(encode):
    class Strange:
        pass

    def default(value: object) -> Any:
        assert encode({"a": 1, "b": 2}) == b'{"a":1,"b":2}'
        return {"a": "hook", "b": "hook"}

    for number in range(20):
        event = {"a": number, "b": Strange(), "c": {"a": number, "b": None}}
        expected = stdlib({**event, "b": {"a": "hook", "b": "hook"}})
        assert encode(event, default) == expected


def test_nothing_is_remembered_of_a_refused_dict(encode):
    for number in range(20):
        with pytest.raises(Exception, match="set"):
            encode({"a": number, "b": {1, 2}})
        assert encode({"a": number, "b": 3}) == b'{"a":%d,"b":3}' % number


def test_what_is_remembered_is_let_go_of(encode):
    """Objects of dicts long gone are held in a bounded number, however many come by."""
    import gc
    import sys

    values = [f"value {number}" for number in range(3_000)]
    before = [sys.getrefcount(value) for value in values]
    for number, value in enumerate(values):
        encode({f"k{number % 500}": value, "same": value})
    del value
    gc.collect()
    after = [sys.getrefcount(value) for value in values]
    held = sum(after) - sum(before)
    assert held <= 2 * 16

"""A dict to JSON bytes, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from cascade.connectors.mqtt.encoding import encode_payload

from .bench import Bench
from .floors import each

pytestmark = pytest.mark.benchmark(group="encode")

Encode = Callable[[Any], bytes]
_LIMIT = 1024 * 1024


def stdlib(event: Any) -> bytes:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def _measure(bench: Bench, name: str, encode: Encode, events: Sequence[Any]) -> None:
    assert encode(events[0]) == stdlib(events[0])
    floors = {"orjson.dumps": bench.floors.dumps(lambda: bench.all_events)}
    bench.rate(name, lambda: each(encode, events), events=len(events), floors=floors)


def test_encode(backend: str, bench: Bench) -> None:
    if backend == "native":
        from cascade.connectors.mqtt._native import encode

        _measure(bench, backend, encode, bench.all_events)
    else:
        _measure(bench, backend, lambda event: encode_payload(event, None, _LIMIT), bench.all_events[:20_000])


def test_encode_json_dumps(bench: Bench) -> None:
    _measure(bench, "json.dumps", stdlib, bench.all_events[:20_000])


def test_encode_orjson(bench: Bench) -> None:
    _measure(bench, "orjson.dumps", orjson.dumps, bench.all_events)

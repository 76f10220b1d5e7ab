"""The fallback's reading of packets: whatever comes, and wherever it is cut, the same is made of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cascade.connectors.mqtt.backends.fallback.incoming import Incoming
from cascade.connectors.mqtt.backends.fallback.malformed import Malformed, TooLarge

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "vectors" / "packets.json").read_text("utf-8")
)
FRAMES = st.sampled_from([bytes.fromhex(case["hex"]) for case in VECTORS["incoming"]])
STREAMS = st.lists(st.one_of(FRAMES, st.binary(max_size=12)), max_size=6).map(b"".join)


def read(chunks: Iterable[bytes], *, is_5: bool) -> list[Any]:
    """The packets, and in the end why there are no more."""
    incoming = Incoming(is_5=is_5, max_bytes=200, topic_aliases=2)
    found: list[Any] = []
    for chunk in chunks:
        incoming.feed(chunk)
        try:
            while (packet := incoming.next()) is not None:
                found.append(packet)
        except (Malformed, TooLarge) as error:
            return [*found, (type(error), str(error), error.code)]
    return [*found, incoming.first]


@given(STREAMS, st.booleans(), st.lists(st.integers(0, 100), max_size=5))
def test_a_cut_anywhere_changes_nothing(stream: bytes, is_5: bool, cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(stream)]
    parts = [stream[start:end] for start, end in itertools.pairwise(ends)]
    assert read(parts, is_5=is_5) == read([stream], is_5=is_5)


@given(STREAMS, st.booleans())
def test_one_byte_at_a_time_is_the_same(stream: bytes, is_5: bool) -> None:
    assert read((bytes([byte]) for byte in stream), is_5=is_5) == read([stream], is_5=is_5)

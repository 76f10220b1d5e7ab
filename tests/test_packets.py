"""The packets of vectors/packets.json, which `cargo test` parses too, sent by a broker to a connector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from waiting import eventually

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "packets.json").read_text("utf-8"))[
    "incoming"
]
MALFORMED = [case for case in VECTORS if case["expect"] == "malformed"]
# A subscriber at QoS 1 is sent nothing at QoS 2.
MESSAGES = [case for case in VECTORS if "topic" in case["expect"] and case["expect"]["qos"] < 2]


def named(case: dict[str, Any]) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", MESSAGES, ids=named)
async def test_a_message_arrives_as_the_vector_says(connected, peer, case):
    got: list[Any] = []
    connector = await connected(peer)
    await connector.subscribe("#", lambda topic, payload: got.append((topic, payload)), decode="bytes")
    peer.send(bytes.fromhex(case["hex"]))
    await eventually(lambda: got)
    assert got == [(case["expect"]["topic"], bytes.fromhex(case["expect"]["payload"]))]


@pytest.mark.parametrize("case", MALFORMED, ids=named)
async def test_a_malformed_packet_ends_the_connection_and_its_rule_is_told(connected, peer, case):
    connector = await connected(peer)
    peer.send(bytes.fromhex(case["hex"]))
    await eventually(lambda: connector.stats().reconnects == 1)
    assert f"(MQTT 3.1.1 section {case['section']})" in connector.stats().last_error

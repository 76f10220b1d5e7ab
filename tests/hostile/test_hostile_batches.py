"""What is no batch on a topic of batches: refused whole, counted, said once, and the connection goes on."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from corpus.entry import packet, string, with_length
from hostile_peer import HostilePeer, nothing
from resident import Resident

import wire
from batched import zstd
from waiting import eventually

MIB = 1024 * 1024
VECTORS = json.loads((Path(__file__).parents[1] / "vectors/batches.json").read_text("utf-8"))["batches"]


def payload_of(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["hex"]) if "hex" in vector else vector["text"].encode()


async def test_the_vectors(connected, peer):
    """Each as a message at QoS 1: its events, or a count of one by the reason; acknowledged whichever it is."""
    got: list[str] = []
    connector = await connected(peer)
    await connector.subscribe("a", lambda topic, payload: got.append(payload), decode="text", batches=True)
    for number, vector in enumerate(VECTORS, 1):
        got.clear()
        before = connector.stats()
        peer.send(wire.publish("a/@batch", payload_of(vector), qos=1, packet_id=number))
        peer.send(wire.publish("a", b"end"))
        await eventually(lambda: got[-1:] == ["end"])
        after = connector.stats()
        assert got[:-1] == vector.get("events", []), vector["name"]
        assert after.received == before.received + len(got), vector["name"]
        counted = {
            reason: count - before.inbox_dropped.get(reason, 0)
            for reason, count in after.inbox_dropped.items()
            if count != before.inbox_dropped.get(reason, 0)
        }
        assert counted == ({vector["refused"]: 1} if "refused" in vector else {}), vector["name"]
    await eventually(lambda: [one.packet_id for one in peer.of(wire.PUBACK)] == list(range(1, len(VECTORS) + 1)))
    assert connector.stats().reconnects == 0


def mutated(chance: random.Random) -> bytes:
    """An array of events in which some bytes are other ones, missing, or twice there."""
    event = {"k[": ["a,b", '"', "\\", "ü"], "{": {"n": [1, [2.5, None]], "": {}}, "x": "]}"}
    spaces = chance.choice([None, 0, 1])
    array = bytearray(json.dumps([event, 7, [], "[,]", event][: chance.randrange(6)], indent=spaces).encode())
    for _ in range(chance.randrange(3)):
        place = chance.randrange(len(array))
        array[place : place + chance.randrange(3)] = chance.choice([b"", *(b"%c" % mark for mark in b'[]{}",:\\ 1')])
    return bytes(array)


def value_of(text: bytes) -> Any:
    try:
        return json.loads(text.decode())
    except ValueError:
        return ValueError


async def test_mutated_arrays(connected, peer):
    """What comes of each is JSON throughout just where the whole is: nothing is lost, split or mended on the way."""
    chance = random.Random(9)
    payloads = [mutated(chance) for _ in range(1_000)]
    events: list[list[bytes]] = [[]]

    def take(topic: str, payload: bytes) -> None:
        if payload == b"end":
            events.append([])
        else:
            events[-1].append(payload)

    connector = await connected(peer)
    await connector.subscribe("a", take, decode="bytes", batches=True)
    for payload in payloads:
        peer.send(wire.publish("a/@batch", payload) + wire.publish("a", b"end"))
    await eventually(lambda: len(events) == len(payloads) + 1)
    whole = 0
    for payload, found in zip(payloads, events, strict=False):
        values, value = [value_of(event) for event in found], value_of(payload)
        if isinstance(value, list):
            assert values == value, payload
            whole += 1
        else:
            assert not found or ValueError in values, payload
    assert 200 < whole < 900
    refused = sum(value_of(payload) != [] for payload, found in zip(payloads, events, strict=False) if not found)
    assert connector.stats().inbox_dropped == {"not_json": refused}


async def test_one_line_for_a_run_of_them(connected, peer, caplog):
    got: list[Any] = []
    connector = await connected(peer)
    await connector.subscribe("a", lambda topic, payload: got.append(payload), batches=True)
    for good in (b"1", b"2"):
        peer.send(wire.publish("a/@batch", b"{}") * 50 + wire.publish("a/@batch", b"\x28\xb5\x2f\xfd"))
        peer.send(wire.publish("a", good))
        await eventually(lambda good=good: got[-1:] == [int(good)])
    assert connector.stats().inbox_dropped == {"not_json": 100, "not_zstd": 2}
    await eventually(lambda: len([line for line in caplog.messages if "batch" in line]) == 2)
    assert all(line == "a batch on a/@batch was dropped: it is not a JSON array" for line in caplog.messages)


@pytest.mark.parametrize("content", ["zeros", "an array"])
async def test_a_bomb_costs_no_more_than_the_cap(connected, peer, content):
    """Tens of KB that inflate to 1 GiB: no more than ``max_inbound_bytes`` is ever made of them."""
    compressor = zstd.ZstdCompressor(level=1)
    filling = b"\0" * MIB if content == "zeros" else b" " * MIB
    bomb = b"" if content == "zeros" else compressor.compress(b"[1")
    bomb += b"".join(compressor.compress(filling) for _ in range(1024)) + compressor.flush()
    assert len(bomb) < 200_000
    got: list[Any] = []
    connector = await connected(peer)
    await connector.subscribe("a", lambda topic, payload: got.append(payload), batches=True)
    resident = Resident()
    for number in range(5):
        peer.send(wire.publish("a/@batch", bomb, qos=1, packet_id=number + 1))
    peer.send(wire.publish("a", b'"end"'))
    await eventually(lambda: got == ["end"])
    assert connector.stats().inbox_dropped == {"too_large": 5}
    assert resident.grown_at_most() <= 48 * MIB


async def test_the_cap_is_the_option(connected, peer):
    got: list[Any] = []
    connector = await connected(peer, max_inbound_bytes=10_000)
    await connector.subscribe("a", lambda topic, payload: got.append(len(payload)), batches=True)
    for size in (9_996, 9_997):
        peer.send(wire.publish("a/@batch", zstd.compress(b'["%b"]' % (b"x" * size))))
    peer.send(wire.publish("a", b'"end"'))
    await eventually(lambda: got == [9_996, 3])
    assert connector.stats().inbox_dropped == {"too_large": 1}


@pytest.mark.parametrize("backend", ["python"])
async def test_without_the_extra_a_compressed_batch_is_refused(connected, peer, monkeypatch, caplog):
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    got: list[Any] = []
    connector = await connected(peer)
    await connector.subscribe("a", lambda topic, payload: got.append(payload), batches=True)
    peer.send(wire.publish("a/@batch", zstd.compress(b"[1]")) + wire.publish("a/@batch", b"[2]"))
    await eventually(lambda: got == [2])
    assert connector.stats().inbox_dropped == {"not_zstd": 1}
    await eventually(lambda: any("cascade-connector-mqtt[zstd]" in line for line in caplog.messages))


CONTENT_TYPES = [
    ("application/json", b"[1]", 1),
    ("application/json", zstd.compress(b"[1]"), "not_json"),
    ("application/zstd", zstd.compress(b"[1]"), 1),
    ("application/zstd", b"[1]", "not_zstd"),
    ("text/plain", zstd.compress(b"[1]"), 1),
    ("text/plain", b"[1]", 1),
]


@pytest.mark.parametrize("backend", ["python"])
async def test_in_mqtt_5_the_content_type_decides(connected, backend):
    """Where it says one of the two; else what the payload begins with."""
    got: list[Any] = []
    with HostilePeer(nothing("5"), times=0) as peer:
        connector = await connected(peer, protocol="5")
        await connector.subscribe("a", lambda topic, payload: got.append(payload), batches=True)
        for content_type, payload, wanted in CONTENT_TYPES:
            got.clear()
            before = connector.stats().inbox_dropped
            properties = with_length(b"\x03" + string(content_type))
            peer.send(packet(0x30, string("a/@batch") + properties + payload) + peer.message("a", b'"end"'))
            await eventually(lambda: got[-1:] == ["end"])
            found = {
                reason for reason, count in connector.stats().inbox_dropped.items() if count != before.get(reason, 0)
            }
            assert [*got[:-1], *found] == [wanted], (content_type, payload)

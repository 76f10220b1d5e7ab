"""How each broker behaves, measured byte by byte: the table of docs/brokers.md, one test a cell."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import install
import pytest
from measured import BEHAVIOUR, VERSIONS
from raw_client import CLOSED, RawClient, connect, is_retained, subscribe

import wire
from waiting import eventually_blocking
from wire import Packet

NOT_5 = "-"
_LATE_S = 2.0


def mqtt_5(broker: Any, prefix: str) -> str:
    with RawClient(broker) as client:
        client.send(connect(prefix, level=5))
        answer = client.next()
    if not isinstance(answer, Packet):
        return "closed"
    code = answer.body[1]
    return f"return code {code}" if code else "accepted"


def receive_maximum(broker: Any, prefix: str) -> str:
    return str(_properties(broker, prefix).get(0x21, 65_535)) if _knows_5(broker, prefix) else NOT_5


def sixty_under_way(broker: Any, prefix: str) -> str:
    """QoS 2 whose PUBREL does not come stays in flight; 60 are more than some allow."""
    if not _knows_5(broker, prefix):
        return NOT_5
    with RawClient(broker) as client:
        client.ask(connect(prefix, level=5))
        client.send(*(_publish_5(f"{prefix}/nobody", qos=2, packet_id=number) for number in range(1, 61)))
        return "disconnected" if len(client.all()) < 60 else "taken"


def nobody_subscribed(broker: Any, prefix: str) -> str:
    if not _knows_5(broker, prefix):
        return NOT_5
    with RawClient(broker) as client:
        client.ask(connect(prefix, level=5))
        answer = client.ask(_publish_5(f"{prefix}/nobody", qos=1, packet_id=1))
        return f"0x{(answer.body[2:3] or bytes(1)).hex()}"


def takeover(broker: Any, prefix: str) -> str:
    with RawClient(broker) as older, RawClient(broker) as newer:
        older.ask(connect(prefix))
        newer.ask(connect(prefix))
        last = older.next()
        return "DISCONNECT" if isinstance(last, Packet) and last.kind == wire.DISCONNECT else str(last)


def no_identifier(broker: Any, _prefix: str) -> str:
    with RawClient(broker) as client:
        answer = client.ask(connect(""))
        return "refused" if answer.body[1] else "accepted"


def pipelined(broker: Any, prefix: str) -> str:
    with RawClient(broker) as client:
        client.send(connect(prefix), subscribe(f"{prefix}/a"))
        kinds = [packet.kind for packet in client.all()]
        return "answered" if kinds == [wire.CONNACK, wire.SUBACK] else "dropped"


def qos_2(broker: Any, prefix: str) -> str:
    with RawClient(broker) as client:
        client.ask(connect(prefix))
        return f"granted {client.ask(subscribe(f'{prefix}/a', 2)).body[2]}"


def delivered_at(broker: Any, prefix: str) -> str:
    """Section 3.8.4: the lower of what it was published at and what was granted."""
    with RawClient(broker) as client:
        client.ask(connect(prefix))
        client.ask(subscribe(f"{prefix}/a", 2))
        return f"QoS {client.ask(wire.publish(f'{prefix}/a', b'1')).qos}"


def shared(broker: Any, prefix: str) -> str:
    with RawClient(broker) as member, RawClient(broker) as speaker:
        member.ask(connect(f"{prefix}-1"))
        granted = member.ask(subscribe(f"$share/g/{prefix}/a")).body[2]
        speaker.ask(connect(f"{prefix}-2"))
        speaker.ask(wire.publish(f"{prefix}/a", b"1", qos=1))
        if granted == 0x80:
            return "refused"
        return "delivered" if member.all() else "granted, never delivered"


def retained_by_name(broker: Any, prefix: str) -> str:
    return _retained(broker, prefix, f"{prefix}/a/b")


def retained_by_wildcard(broker: Any, prefix: str) -> str:
    found = {_retained(broker, prefix, topic_filter) for topic_filter in (f"{prefix}/+/b", f"{prefix}/#")}
    return " or ".join(sorted(found))


def retained_again(broker: Any, prefix: str) -> str:
    """Section 3.8.4: a SUBSCRIBE of the same filter gets the retained messages again."""
    _retain(broker, prefix, f"{prefix}/a")
    with RawClient(broker) as client:
        client.ask(connect(prefix))
        client.send(subscribe(f"{prefix}/a", 0))
        assert wire.PUBLISH in {packet.kind for packet in client.all()}
        client.send(subscribe(f"{prefix}/a", 0, packet_id=2))
        return "delivered" if wire.PUBLISH in {packet.kind for packet in client.all()} else "not delivered"


def session_queue(broker: Any, prefix: str) -> str:
    _leave_session(broker, prefix)
    with RawClient(broker) as speaker:
        speaker.ask(connect(f"{prefix}-2"))
        for number in range(1, 101):
            speaker.ask(wire.publish(f"{prefix}/a", b"%03d" % number, qos=1, packet_id=number))
    arrived = []
    with RawClient(broker) as client:
        client.ask(connect(prefix, clean=False))
        while isinstance(packet := client.next(1), Packet):
            if packet.kind == wire.PUBLISH:
                arrived.append(packet.payload)
                client.send(wire.acknowledge(wire.PUBACK, packet.packet_id))
    assert len(set(arrived)) == 100
    return "in order" if arrived == sorted(arrived) else "shuffled"


def redelivery(broker: Any, prefix: str) -> str:
    _leave_session(broker, prefix)
    with RawClient(broker) as client, RawClient(broker) as speaker:
        client.ask(connect(prefix, clean=False))
        speaker.ask(connect(f"{prefix}-2"))
        speaker.ask(wire.publish(f"{prefix}/a", b"1", qos=1))
        assert client.ask().kind == wire.PUBLISH
    with RawClient(broker) as client:
        client.ask(connect(prefix, clean=False))
        packet = client.next(_LATE_S)
    if packet is None:
        return "late"
    assert isinstance(packet, Packet)
    return "with DUP" if packet.dup else "without DUP"


def overlapping(broker: Any, prefix: str) -> str:
    with RawClient(broker) as client:
        client.ask(connect(prefix))
        client.ask(subscribe(f"{prefix}/#"))
        client.ask(subscribe(f"{prefix}/a", packet_id=2))
        client.send(wire.publish(f"{prefix}/a", b"1"))
        copies = len(client.all())
        return "1 copy" if copies == 1 else f"{copies} copies"


def large(broker: Any, prefix: str) -> str:
    with RawClient(broker) as client:
        client.ask(connect(prefix))
        client.send(wire.publish(f"{prefix}/a", bytes(1_100_000), qos=1))
        answer = client.next()
        return str(answer) if answer == CLOSED else "taken"


def slow_subscriber(broker: Any, prefix: str) -> str:
    """One that reads nothing while 32 MB are published, and then all that there is."""
    count, payload = 20_000, bytes(1_600)
    with RawClient(broker, receive_buffer=4096) as slow, RawClient(broker) as speaker:
        slow.ask(connect(f"{prefix}-1"))
        slow.ask(subscribe(f"{prefix}/a", 0))
        speaker.ask(connect(f"{prefix}-2"))
        hundred = wire.publish(f"{prefix}/a", payload) * 100
        if not all(speaker.send(hundred) for _ in range(count // 100)):
            return "holds publishers up"
        speaker.ask(wire.publish(f"{prefix}/end", b"", qos=1))
        return "loses some" if len(slow.all(2)) < count else "loses none"


def restarted(broker: Any, prefix: str) -> str:
    _leave_session(broker, prefix)
    _retain(broker, prefix, f"{prefix}/kept")
    broker.restart()
    with RawClient(broker) as client:
        session = bool(client.ask(connect(prefix, clean=False)).body[0])
    # Some accept connections before they have read all that they kept.
    retained = session and eventually_blocking(lambda: is_retained(broker, f"{prefix}/kept"))
    return "kept" if session and retained else "forgotten"


PROBES: dict[str, Callable[[Any, str], str]] = {
    "MQTT 5 CONNECT": mqtt_5,
    "Receive Maximum": receive_maximum,
    "60 QoS 2 messages under way": sixty_under_way,
    "PUBACK where nobody subscribed": nobody_subscribed,
    "takeover of a 3.1.1 client": takeover,
    "CONNECT without an identifier": no_identifier,
    "SUBSCRIBE behind CONNECT": pipelined,
    "subscription at QoS 2": qos_2,
    "QoS 0, subscribed at QoS 2": delivered_at,
    "shared subscription": shared,
    "retained, by name": retained_by_name,
    "retained, by wildcard": retained_by_wildcard,
    "retained, the filter again": retained_again,
    "queue of a session": session_queue,
    "redelivery": redelivery,
    "two filters that match": overlapping,
    "message of 1.1 MB": large,
    "QoS 0 subscriber that is slow": slow_subscriber,
    "sessions and retained after a restart": restarted,
}


@pytest.mark.parametrize("behaviour", PROBES)
def test_it_behaves_as_the_table_says(real, name, prefix, behaviour):
    assert PROBES[behaviour](real, prefix) == BEHAVIOUR[behaviour][name]


def test_the_table_has_a_test_for_each_row():
    assert list(BEHAVIOUR) == list(PROBES)


@pytest.mark.parametrize("recipe", install.RECIPES, ids=lambda recipe: recipe.name)
def test_the_versions_measured_are_those_installed(recipe):
    assert VERSIONS[recipe.name] == recipe.version


def _knows_5(broker: Any, prefix: str) -> bool:
    return mqtt_5(broker, prefix) == "accepted"


def _properties(broker: Any, prefix: str) -> dict[int, int]:
    """Those of CONNACK (MQTT 5.0 section 3.2.2.3), as far as numbers go."""
    with RawClient(broker) as client:
        rest = client.ask(connect(prefix, level=5)).body[3:]
    sizes, found = {0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x27: 4}, {}
    while rest:
        size = sizes.get(rest[0], 1)
        found[rest[0]] = int.from_bytes(rest[1 : 1 + size], "big")
        rest = rest[1 + size :]
    return found


def _publish_5(topic: str, *, qos: int, packet_id: int) -> bytes:
    name = topic.encode()
    return wire.encode(
        wire.PUBLISH, qos << 1, struct.pack(">H", len(name)) + name + struct.pack(">H", packet_id) + b"\0"
    )


def _retain(broker: Any, prefix: str, topic: str) -> None:
    with RawClient(broker) as speaker:
        speaker.ask(connect(f"{prefix}-1"))
        speaker.ask(wire.publish(topic, b"1", qos=1, retain=True))
    eventually_blocking(lambda: is_retained(broker, topic))


def _retained(broker: Any, prefix: str, topic_filter: str) -> str:
    _retain(broker, prefix, f"{prefix}/a/b")
    with RawClient(broker) as client:
        client.ask(connect(prefix))
        client.send(subscribe(topic_filter))
        messages = [packet for packet in client.all() if packet.kind == wire.PUBLISH]
    if not messages:
        return "not delivered"
    return "delivered" if messages[0].retain else "without the flag"


def _leave_session(broker: Any, prefix: str) -> None:
    """A session that subscribes to ``prefix/a`` and is not connected."""
    with RawClient(broker) as client:
        client.ask(connect(prefix, clean=False))
        client.ask(subscribe(f"{prefix}/a"))
        client.send(wire.encode(wire.DISCONNECT))
        assert client.next() == CLOSED

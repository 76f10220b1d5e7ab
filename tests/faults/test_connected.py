"""Connections that fall silent, are cut, slow or contested, or whose broker says no."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest

import accounts
import wire
from waiting import eventually, settled

KEEPALIVE_S = 2
SILENT = "no answer to PINGREQ within half a keep-alive"


@pytest.fixture
def broker(own_mosquitto):
    return own_mosquitto()


@pytest.fixture
def proxy(broker, new_proxy):
    return new_proxy(broker)


@pytest.mark.parametrize("how", ["half-open", "PINGRESP withheld"])
async def test_silence_is_found_by_keep_alive(connected, broker, proxy, new_observer, prefix, how):
    """PINGREQ after one keep-alive, the end after half of another (MQTT 3.1.1 section 3.1.2.10)."""
    connector = await connected(proxy, keepalive=KEEPALIVE_S)
    got: list[Any] = []
    await connector.subscribe(f"{prefix}/in", lambda topic, payload: got.append(payload))
    began = time.monotonic()
    if how == "half-open":
        proxy.lose()
    else:
        proxy.withheld.add(wire.PINGRESP)
    await eventually(lambda: connector.stats().last_error == SILENT)
    # 1.5 keep-alives, and as much for a machine that is busy with other tests.
    assert 0.9 * KEEPALIVE_S < time.monotonic() - began < 3 * KEEPALIVE_S
    proxy.withheld.clear()
    await eventually(lambda: len(proxy.packets(wire.SUBACK, from_broker=True)) == 2)
    assert connector.stats().reconnects == 1
    new_observer(broker).publish(f"{prefix}/in", "1")
    await eventually(lambda: got == [1])


async def test_what_is_not_acknowledged_is_not_sent_again_on_the_same_connection(connected, broker, proxy, prefix):
    """Only a reconnect is a reason to (MQTT 3.1.1 section 4.4); everything else goes on beside it."""
    connector = await connected(proxy, keepalive=1)
    got: list[Any] = []
    await connector.subscribe(f"{prefix}/echo", lambda topic, payload: got.append(payload))
    proxy.withheld.add(wire.PUBACK)
    payloads = [b"%d" % number for number in range(100)]
    for payload in payloads:
        connector.publish_nowait(f"{prefix}/out", payload, qos=1)
    connector.publish_nowait(f"{prefix}/echo", "1")
    await eventually(lambda: got == [1])
    # Two pings later it is still the same connection, and each was sent once.
    pings = len(proxy.packets(wire.PINGRESP, from_broker=True))
    await eventually(lambda: len(proxy.packets(wire.PINGRESP, from_broker=True)) >= pings + 2)
    assert _published(proxy, f"{prefix}/out") == payloads
    stats = accounts.check(connector.stats())
    assert (stats.in_flight, stats.reconnects) == (100, 0)

    proxy.cut()
    proxy.withheld.clear()
    assert await connector.flush(20) == 0
    assert _published(proxy, f"{prefix}/out") == payloads * 2
    assert accounts.check(connector.stats()).acknowledged == 100


async def test_a_message_from_the_broker_cut_in_the_middle(connected, broker, proxy, new_observer, prefix):
    """Never delivered in part; with a session that the broker keeps, delivered whole on the next connection."""
    connector = await connected(proxy, identifier=prefix, clean_session=False)
    got: list[Any] = []
    await connector.subscribe(f"{prefix}/in", lambda topic, payload: got.append(payload))
    proxy.cut_inside(wire.PUBLISH, from_broker=True)
    new_observer(broker).publish(f"{prefix}/in", '"whole"')
    await eventually(lambda: connector.stats().reconnects == 1)
    await eventually(lambda: got)
    assert await settled(lambda: got) == ["whole"]


async def test_a_byte_in_10_ms(connected, broker, proxy, new_observer, prefix):
    """Slow is not silent: packets arrive whole in both directions, and keep-alive finds nothing wrong."""
    connector = await connected(proxy, keepalive=KEEPALIVE_S)
    got: list[Any] = []
    await connector.subscribe(f"{prefix}/in", lambda topic, payload: got.append(payload))
    proxy.trickling = True
    observer = new_observer(broker, f"{prefix}/out")
    payloads = [b"%d" % number * 10 for number in range(1, 6)]
    for payload in payloads:
        connector.publish_nowait(f"{prefix}/out", payload, qos=1)
        observer.publish(f"{prefix}/in", payload)
    await eventually(lambda: connector.stats().acknowledged == 5)
    await eventually(lambda: got == [int(payload) for payload in payloads])
    assert observer.payloads == payloads
    assert connector.stats().reconnects == 0


async def test_two_clients_of_one_identifier_throw_each_other_out_only_so_often(
    connected, broker, proxy, prefix, caplog
):
    """The broker closes the older connection (MQTT 3.1.1 section 3.1.4). Three times, and both try less often."""
    habit = "the broker closes every connection soon after accepting it; trying less often"
    one = await connected(proxy, identifier=prefix, reconnect_max_delay=1)
    other = await connected(broker, identifier=prefix, reconnect_max_delay=1)
    for number in range(100):
        assert one.publish_nowait(f"{prefix}/out", str(number), qos=1)
    await eventually(lambda: one.stats().reconnects >= 5)
    connects = [passed.at for passed in proxy.packets(wire.CONNECT, from_broker=False)]
    # Three connections were short; what follows waits the whole delay. Noted late, it may look like less.
    assert all(later - earlier > 0.5 for earlier, later in itertools.pairwise(connects[3:])), connects
    assert caplog.messages.count(habit) == 2
    await other.disconnect()
    await eventually(lambda: one.stats().acknowledged == 100)
    await eventually(lambda: one.stats().connected)
    accounts.check(one.stats())


# --- a broker that says no


@pytest.fixture
def rules(tmp_path):
    """``rules(*lines)`` writes mosquitto's access rules anew and returns where they are."""
    path = tmp_path / "rules"

    def write(*lines: str) -> Any:
        path.write_text("".join(f"{line}\n" for line in lines))
        path.chmod(0o644)
        return path

    return write


async def test_a_topic_that_is_forbidden_meanwhile(connected, own_mosquitto, new_observer, rules, prefix):
    """MQTT 3.1.1 has no word for it (section 3.3.5): mosquitto acknowledges it and closes. The rest flows."""
    broker = own_mosquitto(f"acl_file {rules('topic readwrite #')}")
    observer = new_observer(broker, f"{prefix}/#")
    connector = await connected(broker)
    await connector.publish_confirmed(f"{prefix}/secret", "before")
    rules(f"topic readwrite {prefix}/open", f"topic read {prefix}/#")
    broker.reload()
    await _until_forbidden(connector, observer, f"{prefix}/secret")
    assert await _publish_to_both(connector, prefix) == 0
    await eventually(lambda: len(set(_of(observer, f"{prefix}/open"))) == 100)
    assert list(dict.fromkeys(_of(observer, f"{prefix}/open"))) == [b"%d" % number for number in range(100)]
    assert b"0" not in _of(observer, f"{prefix}/secret")
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, stats.dropped) == (stats.submitted, {})


@pytest.mark.parametrize("backend", ["python"], indirect=True)
async def test_a_forbidden_topic_in_mqtt_5_is_counted(new_connector, own_mosquitto, rules, prefix):
    """PUBACK with reason 0x87, not authorised (MQTT 5.0 section 3.4.2.1)."""
    broker = own_mosquitto(f"acl_file {rules(f'topic readwrite {prefix}/open')}")
    connector = new_connector(broker, protocol="5")
    await connector.connect()
    assert await _publish_to_both(connector, prefix) == 0
    stats = accounts.check(connector.stats())
    assert (stats.acknowledged, stats.dropped) == (100, {"rejected_by_peer": 2})


@pytest.mark.parametrize(
    ("backend", "protocol"), [("native", "3.1.1"), ("python", "3.1.1"), ("python", "5")], indirect=["backend"]
)
async def test_a_message_above_the_brokers_limit(new_connector, own_mosquitto, new_observer, prefix, protocol):
    """mosquitto's ``message_size_limit``: acknowledged and thrown away, under MQTT 5 with reason 0x95, and the
    connection closed. The rest flows in order."""
    broker = own_mosquitto("message_size_limit 2000")
    observer = new_observer(broker, f"{prefix}/#")
    connector = new_connector(broker, protocol=protocol)
    await connector.connect()
    payloads = [b"." * 3_000 if number == 25 else b"%d" % number for number in range(50)]
    for payload in payloads:
        connector.publish_nowait(f"{prefix}/a", payload, qos=1)
    assert await connector.flush(30) == 0
    await eventually(lambda: len(set(observer.payloads)) == 49)
    assert list(dict.fromkeys(observer.payloads)) == payloads[:25] + payloads[26:]
    stats = accounts.check(connector.stats())
    assert stats.acknowledged + stats.dropped.get("rejected_by_peer", 0) == 50
    assert stats.dropped == ({"rejected_by_peer": 1} if protocol == "5" else {})


async def _publish_to_both(connector: Any, prefix: str) -> int:
    """100 events to a topic, among them 2 to a forbidden one; returns what is left of them."""
    for number in range(100):
        connector.publish_nowait(f"{prefix}/open", str(number), qos=1)
        if number in (30, 60):
            connector.publish_nowait(f"{prefix}/secret", "0", qos=1)
    return int(await connector.flush(20))


async def _until_forbidden(connector: Any, observer: Any, topic: str) -> None:
    """The broker reads its rules some time after it was told to."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        seen = len(_of(observer, topic))
        await connector.publish_confirmed(topic, "allowed?")
        await asyncio.sleep(0.05)
        if len(_of(observer, topic)) == seen:
            return
    pytest.fail("the new rules were not read")


def _of(observer: Any, topic: str) -> list[bytes]:
    return [message.payload for message in observer.seen if message.topic == topic]


def _published(proxy: Any, topic: str) -> list[bytes]:
    packets = [one.packet for one in proxy.packets(wire.PUBLISH, from_broker=False)]
    return [packet.payload for packet in packets if packet.topic == topic]

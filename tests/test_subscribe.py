"""Subscriptions: retained messages, routing, decoding, and callbacks that misbehave."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import wire
from cascade.connectors.mqtt import Message, SubscribeError, SubscriptionHandle, TopicError
from waiting import eventually, settled


class Collector:
    """A coroutine callback that remembers what it was given."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []

    async def __call__(self, topic: str, payload: Any) -> None:
        self.got.append((topic, payload))

    @property
    def payloads(self) -> list[Any]:
        return [payload for _, payload in self.got]


@pytest.mark.every_loop
async def test_messages_arrive_in_order(connected, broker, new_observer, prefix):
    collector, speaker = Collector(), new_observer(broker)
    connector = await connected(broker)
    handle = await connector.subscribe(f"{prefix}/#", collector)
    assert handle
    assert isinstance(handle, SubscriptionHandle)
    for number in range(500):
        speaker.publish_soon(f"{prefix}/{number % 3}", b'{"n":%d}' % number, qos=1)
    await eventually(lambda: len(collector.got) == 500)
    assert collector.got == [(f"{prefix}/{number % 3}", {"n": number}) for number in range(500)]
    assert connector.stats().received == 500


@pytest.mark.every_loop
async def test_retained_messages_come_before_subscribe_returns(connected, broker, new_observer, prefix):
    speaker = new_observer(broker)
    for name in ("a", "b", "c"):
        speaker.publish(f"{prefix}/{name}", f'"{name}"', retain=True)
    finished: list[str] = []

    async def slow(topic: str, payload: str) -> None:
        await asyncio.sleep(0.02)
        finished.append(payload)

    connector = await connected(broker)
    await connector.subscribe(f"{prefix}/+", slow)
    assert sorted(finished) == ["a", "b", "c"]
    for name in ("a", "b", "c"):
        speaker.publish(f"{prefix}/{name}", retain=True)


async def test_without_retained_messages_subscribe_returns_too(connected, broker, prefix):
    connector = await connected(broker, retained_timeout=30)
    await asyncio.wait_for(connector.subscribe(f"{prefix}/none", Collector()), 10)


async def test_a_peer_that_never_answers_pings_does_not_hold_subscribe(connected, peer):
    peer.pingresp = False
    peer.retained = {"kept": b'"r"'}
    collector = Collector()
    connector = await connected(peer, retained_timeout=0.3)
    await asyncio.wait_for(connector.subscribe("kept", collector), 10)
    assert collector.payloads == ["r"]


async def test_one_filter_twice(connected, broker, new_observer, prefix):
    speaker, first, second = new_observer(broker), Collector(), Collector()
    connector = await connected(broker)
    handle = await connector.subscribe(f"{prefix}/a", first)
    await connector.subscribe(f"{prefix}/a", second)
    speaker.publish(f"{prefix}/a", "1")
    await eventually(lambda: first.payloads == second.payloads == [1])
    await handle.unsubscribe()
    await handle.unsubscribe()
    speaker.publish(f"{prefix}/a", "2")
    await eventually(lambda: second.payloads == [1, 2])
    assert first.payloads == [1]


async def test_one_filter_twice_gives_retained_messages_to_both(connected, mosquitto_broker, new_observer, prefix):
    """The embedded broker sends them with the first SUBSCRIBE of a filter only, whatever section 3.8.4 says."""
    broker = mosquitto_broker
    new_observer(broker).publish(f"{prefix}/a", '"kept"', retain=True)
    first, second = Collector(), Collector()
    connector = await connected(broker)
    await connector.subscribe(f"{prefix}/a", first)
    await connector.subscribe(f"{prefix}/a", second)
    assert first.payloads[:1] == ["kept"]
    assert second.payloads == ["kept"]
    new_observer(broker).publish(f"{prefix}/a", retain=True)


async def test_unsubscribe_goes_out_with_the_last_of_a_filter(connected, peer):
    connector = await connected(peer)
    handles = [await connector.subscribe("a", Collector()) for _ in range(2)]
    await handles[0].unsubscribe()
    assert await settled(lambda: len(peer.of(wire.UNSUBSCRIBE))) == 0
    await handles[1].unsubscribe()
    await eventually(lambda: [packet.filters for packet in peer.of(wire.UNSUBSCRIBE)] == [["a"]])


async def test_overlapping_filters_each_get_a_message_once(connected, own_mosquitto, new_observer, prefix):
    broker = own_mosquitto()
    collectors = {topic_filter: Collector() for topic_filter in (f"{prefix}/a", f"{prefix}/+", f"{prefix}/#", "#")}
    connector = await connected(broker)
    for topic_filter, collector in collectors.items():
        await connector.subscribe(topic_filter, collector)
    speaker = new_observer(broker)
    for number in range(20):
        speaker.publish(f"{prefix}/a", str(number))
    for collector in collectors.values():
        await eventually(lambda collector=collector: len(collector.got) >= 20)
        assert await settled(lambda collector=collector: collector.payloads) == list(range(20))


async def test_the_peers_one_copy_reaches_each_subscription_once(connected, peer):
    collectors = [Collector() for _ in range(3)]
    connector = await connected(peer)
    for topic_filter, collector in zip(("x/y", "x/+", "#"), collectors, strict=True):
        await connector.subscribe(topic_filter, collector)
    peer.send(wire.publish("x/y", b"1"))
    for collector in collectors:
        await eventually(lambda collector=collector: collector.payloads == [1])


async def test_a_retained_message_that_overlapping_subscribes_ask_for_comes_once(connected, peer):
    """Each SUBSCRIBE brings a copy, and no copy says whose it is."""
    collectors = [Collector() for _ in range(2)]
    peer.suback = False
    connector = await connected(peer)
    pairs = zip(("x/y", "x/#"), collectors, strict=True)
    subscribing = [asyncio.create_task(connector.subscribe(*pair)) for pair in pairs]
    await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 2)
    for packet in peer.of(wire.SUBSCRIBE):
        copy = wire.publish("x/y", b"1", retain=True)
        peer.send(wire.acknowledge(wire.SUBACK, packet.packet_id, b"\x01") + copy)
    await asyncio.gather(*subscribing)
    assert [collector.payloads for collector in collectors] == [[1], [1]]


async def test_wildcards(connected, peer):
    filters = ["a/#", "a/+", "+/b", "#", "+", "$SYS/#", "$SYS/+/x", "/+", "é/#"]
    topics = ["a", "a/b", "a/b/c", "$SYS/b/x", "$SYS", "/b", "é/a"]
    wanted = {
        "a/#": ["a", "a/b", "a/b/c"],
        "a/+": ["a/b"],
        "+/b": ["a/b", "/b"],
        "#": ["a", "a/b", "a/b/c", "/b", "é/a"],
        "+": ["a"],
        "$SYS/#": ["$SYS/b/x", "$SYS"],
        "$SYS/+/x": ["$SYS/b/x"],
        "/+": ["/b"],
        "é/#": ["é/a"],
    }
    connector = await connected(peer)
    collectors = {topic_filter: Collector() for topic_filter in filters}
    end = Collector()
    for topic_filter, collector in collectors.items():
        await connector.subscribe(topic_filter, collector)
    await connector.subscribe("end/of/it", end)
    for topic in topics:
        peer.send(wire.publish(topic, b"1"))
    peer.send(wire.publish("end/of/it", b"1"))
    await eventually(lambda: end.got)
    await settled(lambda: sum(len(collector.got) for collector in collectors.values()))
    wanted["#"].append("end/of/it")
    assert {name: [topic for topic, _ in collector.got] for name, collector in collectors.items()} == wanted


async def test_sys_topics_of_a_broker(connected, own_mosquitto):
    broker = own_mosquitto("sys_interval 1")
    everything, system = Collector(), Collector()
    connector = await connected(broker)
    await connector.subscribe("#", everything, decode="text")
    await connector.subscribe("$SYS/#", system, decode="text")
    await eventually(lambda: system.got)
    assert not [topic for topic, _ in everything.got if topic.startswith("$")]


@pytest.mark.parametrize("topic_filter", ["", "a/#/b", "a#", "a+/b", "a\0", "x" * 65_536, 7])
async def test_invalid_filters_are_named_at_once(connected, peer, topic_filter):
    connector = await connected(peer)
    with pytest.raises(TopicError):
        await connector.subscribe(topic_filter, Collector())
    assert peer.of(wire.SUBSCRIBE) == []


async def test_a_refused_subscription_is_logged(connected, peer, caplog):
    peer.granted = 0x80
    connector = await connected(peer)
    assert await connector.subscribe("secret/topic", Collector())
    assert [record for record in caplog.records if "secret/topic" in record.getMessage()]
    assert connector.stats().connected


async def test_a_refused_subscription_raises_where_it_is_strict(connected, peer):
    peer.granted = 0x80
    connector = await connected(peer, strict=True)
    with pytest.raises(SubscribeError, match="secret/topic"):
        await connector.subscribe("secret/topic", Collector())
    assert connector.stats().connected


async def test_remembered_while_not_connected(new_connector, broker, new_observer, prefix):
    speaker, collector = new_observer(broker), Collector()
    connector = new_connector(broker)
    handle = await connector.subscribe(f"{prefix}/a", collector)
    assert handle
    await connector.connect()
    speaker.publish(f"{prefix}/kept", '"old"', retain=True)

    async def arrives() -> None:
        while not collector.got:
            speaker.publish(f"{prefix}/a", "1")
            await asyncio.sleep(0.02)

    await asyncio.wait_for(arrives(), 20)
    await handle.unsubscribe()
    speaker.publish(f"{prefix}/kept", retain=True)


async def test_subscribed_again_after_a_disconnect(connected, peer):
    collector = Collector()
    connector = await connected(peer)
    await connector.subscribe("a", collector)
    await connector.disconnect()
    await connector.connect()
    await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 2)
    peer.send(wire.publish("a", b"1"))
    await eventually(lambda: collector.payloads == [1])


async def test_unsubscribed_while_not_connected_is_not_subscribed_again(new_connector, peer):
    connector = new_connector(peer)
    gone = await connector.subscribe("gone", Collector())
    await connector.subscribe("stays", Collector())
    await gone.unsubscribe()
    await connector.connect()
    await eventually(lambda: peer.of(wire.SUBSCRIBE))
    await settled(lambda: len(peer.packets))
    assert [name for packet in peer.of(wire.SUBSCRIBE) for name in packet.filters] == ["stays"]


# --- what a callback may do


@pytest.mark.every_loop
async def test_a_callback_may_unsubscribe_itself(connected, broker, new_observer, prefix):
    speaker, got = new_observer(broker), []
    connector = await connected(broker)

    async def once(topic: str, payload: Any) -> None:
        got.append(payload)
        await handle.unsubscribe()

    handle = await connector.subscribe(f"{prefix}/a", once)
    other = Collector()
    await connector.subscribe(f"{prefix}/b", other)
    for number in range(10):
        speaker.publish(f"{prefix}/a", str(number))
    speaker.publish(f"{prefix}/b", '"end"')
    await eventually(lambda: other.got)
    assert await settled(lambda: got) == [0]


async def test_a_callback_may_subscribe(connected, broker, new_observer, prefix):
    speaker, inner = new_observer(broker), Collector()
    speaker.publish(f"{prefix}/inner", '"kept"', retain=True)
    connector = await connected(broker)

    async def outer(topic: str, payload: Any) -> None:
        await connector.subscribe(f"{prefix}/inner", inner)

    await connector.subscribe(f"{prefix}/outer", outer)
    speaker.publish(f"{prefix}/outer", "1")
    await eventually(lambda: inner.payloads == ["kept"])
    speaker.publish(f"{prefix}/inner", retain=True)


async def test_a_callback_may_publish(connected, broker, new_observer, prefix):
    observer = new_observer(broker, f"{prefix}/reply")
    connector = await connected(broker)

    async def reply(topic: str, payload: Any) -> None:
        await connector.publish_confirmed(f"{prefix}/reply", {"to": payload})

    await connector.subscribe(f"{prefix}/ask", reply)
    observer.publish(f"{prefix}/ask", '"you"')
    await eventually(lambda: observer.payloads == [b'{"to":"you"}'])


async def test_a_callback_may_disconnect(connected, peer):
    connector = await connected(peer)
    done = asyncio.Event()

    async def leave(topic: str, payload: Any) -> None:
        await connector.disconnect()
        done.set()

    await connector.subscribe("a", leave)
    peer.send(wire.publish("a", b"1"))
    await asyncio.wait_for(done.wait(), 20)
    await eventually(lambda: peer.of(wire.DISCONNECT))
    await connector.connect()
    assert connector.stats().connected


async def test_a_retained_callback_may_unsubscribe(connected, peer):
    """While its own subscribe has not returned: by way of the iterator's close or of another handle."""
    peer.retained = {"a": b"1"}
    connector = await connected(peer)
    other = await connector.subscribe("b", Collector())

    async def leave(topic: str, payload: Any) -> None:
        await other.unsubscribe()

    await asyncio.wait_for(connector.subscribe("a", leave), 20)
    await eventually(lambda: peer.of(wire.UNSUBSCRIBE))


async def test_a_stuck_callback_delays_nobody_else(connected, peer):
    release, stuck, others = asyncio.Event(), [], [Collector() for _ in range(3)]

    async def block(topic: str, payload: Any) -> None:
        stuck.append(payload)
        await release.wait()

    connector = await connected(peer)
    await connector.subscribe("a/#", block)
    for collector in others:
        await connector.subscribe("a/#", collector)
    for number in range(100):
        peer.send(wire.publish("a/b", b"%d" % number))
    for collector in others:
        await eventually(lambda collector=collector: collector.payloads == list(range(100)))
    assert stuck == [0]
    await connector.publish("out", "x", qos=1)
    await eventually(lambda: connector.stats().acknowledged == 1)
    release.set()
    await eventually(lambda: stuck == list(range(100)))


async def test_one_call_at_a_time_and_in_order(connected, peer):
    running, most, order = 0, 0, []

    async def sometimes_slow(topic: str, payload: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if payload % 3 == 0:
            await asyncio.sleep(0)
        order.append(payload)
        running -= 1

    connector = await connected(peer)
    await connector.subscribe("a", sometimes_slow)
    for number in range(300):
        peer.send(wire.publish("a", b"%d" % number))
    await eventually(lambda: len(order) == 300)
    assert order == list(range(300))
    assert most == 1


@pytest.mark.every_loop
async def test_a_raising_callback_is_logged_and_the_stream_goes_on(connected, peer, caplog):
    got = []

    async def picky(topic: str, payload: int) -> None:
        got.append(payload)
        if payload == 1:
            raise RuntimeError("not this one")
        if payload == 3:
            await asyncio.sleep(0)
            raise RuntimeError("nor that one")

    connector = await connected(peer)
    await connector.subscribe("a", picky)
    for number in range(5):
        peer.send(wire.publish("a", b"%d" % number))
    await eventually(lambda: got == [0, 1, 2, 3, 4])
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(records) == 2
    assert "not this one" in caplog.text
    assert "nor that one" in caplog.text


async def test_a_plain_function_is_a_callback_too(connected, peer):
    got = []
    connector = await connected(peer)
    await connector.subscribe("a", lambda topic, payload: got.append((topic, payload)))
    peer.send(wire.publish("a", b'{"x":1}'))
    await eventually(lambda: got == [("a", {"x": 1})])


async def test_callbacks_run_on_the_callers_loop(connected, peer):
    loops = []
    connector = await connected(peer)

    async def where(topic: str, payload: Any) -> None:
        loops.append(asyncio.get_running_loop())

    await connector.subscribe("a", where)
    peer.send(wire.publish("a", b"1"))
    await eventually(lambda: loops)
    assert loops == [asyncio.get_running_loop()]


async def test_unsubscribe_stops_the_callback(connected, peer):
    """After ``unsubscribe`` has returned nothing is called any more, whatever was queued."""
    got: list[Any] = []
    connector = await connected(peer)

    async def slow(topic: str, payload: Any) -> None:
        got.append(payload)
        await asyncio.sleep(0.01)

    handle = await connector.subscribe("a", slow)
    peer.send(b"".join(wire.publish("a", b"%d" % number) for number in range(200)))
    await eventually(lambda: got)
    await handle.unsubscribe()
    seen = len(got)
    assert await settled(lambda: len(got)) == seen


# --- decoding


VALID = [b'{"a":[1,2.5,"\\u00e9"]}', b"[]", b'"text"', b"0", b"-1.5e3", b"true", b"null", b" 1 ", '"ü"'.encode()]
VALUES = [{"a": [1, 2.5, "é"]}, [], "text", 0, -1500.0, True, None, 1, "ü"]


async def test_any_json_value_passes(connected, peer):
    collector = Collector()
    connector = await connected(peer)
    await connector.subscribe("a", collector)
    for payload in VALID:
        peer.send(wire.publish("a", payload))
    await eventually(lambda: len(collector.got) == len(VALID))
    assert collector.payloads == VALUES


async def test_an_empty_payload_is_an_empty_dict(connected, broker, new_observer, prefix):
    collector = Collector()
    connector = await connected(broker)
    await connector.subscribe(f"{prefix}/a", collector)
    new_observer(broker).publish(f"{prefix}/a", b"")
    await eventually(lambda: collector.payloads == [{}])


BAD = {
    "not_json": [b"{", b"nope", b'{"a":1}}', b"NaN", b"Infinity", b"{'a':1}", b"\x00", b"[1,]"],
    "not_utf8": [b'"\xff"', b"\xfe\xff", b'{"a":"\xc3"}'],
    "too_deep": [b"[" * 1_000 + b"]" * 1_000],
}


async def test_what_is_not_json_is_counted_and_dropped(connected, peer, caplog):
    collector = Collector()
    connector = await connected(peer)
    await connector.subscribe("a", collector)
    for payloads in BAD.values():
        for payload in payloads:
            peer.send(wire.publish("a", payload))
    peer.send(wire.publish("a", b'"good"'))
    await eventually(lambda: collector.payloads == ["good"])
    assert connector.stats().inbox_dropped == {reason: len(payloads) for reason, payloads in BAD.items()}
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert 1 <= len(warnings) <= 12
    assert peer.connections == 1


async def test_decode_text_and_bytes(connected, peer):
    text, raw = Collector(), Collector()
    connector = await connected(peer)
    await connector.subscribe("a", text, decode="text")
    await connector.subscribe("a", raw, decode="bytes")
    for payload in (b"", "größer".encode(), b"\xff\x00", b"{"):
        peer.send(wire.publish("a", payload))
    await eventually(lambda: raw.payloads == [b"", "größer".encode(), b"\xff\x00", b"{"])
    await eventually(lambda: text.payloads == ["", "größer", "{"])
    assert connector.stats().inbox_dropped == {"not_utf8": 1}


async def test_wrong_subscribe_options_raise(connected, peer):
    connector = await connected(peer)
    with pytest.raises(ValueError, match="decode"):
        await connector.subscribe("a", Collector(), decode="yaml")
    with pytest.raises(ValueError, match="qos"):
        await connector.subscribe("a", Collector(), qos=3)
    with pytest.raises(TypeError):
        await connector.subscribe("a", "not callable")


# --- the iterator


@pytest.mark.every_loop
async def test_messages_is_an_iterator(connected, broker, new_observer, prefix):
    speaker = new_observer(broker)
    speaker.publish(f"{prefix}/kept", '{"old":true}', retain=True)
    connector = await connected(broker)
    got: list[Message] = []

    async def read() -> None:
        async for message in connector.messages(f"{prefix}/#"):
            got.append(message)
            if message.payload == "end":
                break

    reader = asyncio.create_task(read())
    await eventually(lambda: got)
    speaker.publish(f"{prefix}/a", "1", qos=1)
    speaker.publish(f"{prefix}/a", '"end"', qos=1)
    await asyncio.wait_for(reader, 20)
    assert [(message.topic, message.payload) for message in got] == [
        (f"{prefix}/kept", {"old": True}),
        (f"{prefix}/a", 1),
        (f"{prefix}/a", "end"),
    ]
    assert [message.retain for message in got] == [True, False, False]
    with pytest.raises(AttributeError):
        got[0].topic = "frozen"
    speaker.publish(f"{prefix}/kept", retain=True)


async def test_what_a_message_says(connected, peer):
    connector = await connected(peer)
    iterator = connector.messages("a/#")
    await eventually(lambda: peer.of(wire.SUBSCRIBE))
    peer.send(wire.publish("a/b", b"1", qos=1, retain=True) + wire.publish("a", b'{"x":2}'))
    assert await anext(iterator) == Message("a/b", 1, 1, True)
    assert await anext(iterator) == Message("a", {"x": 2}, 0, False)
    await iterator.aclose()


async def test_leaving_the_iterator_unsubscribes(connected, peer):
    connector = await connected(peer)
    iterator = connector.messages("a")
    reading = asyncio.ensure_future(anext(iterator))
    await eventually(lambda: peer.of(wire.SUBSCRIBE))
    peer.send(wire.publish("a", b"1"))
    assert (await reading).payload == 1
    await iterator.aclose()
    await eventually(lambda: [packet.filters for packet in peer.of(wire.UNSUBSCRIBE)] == [["a"]])


async def test_an_iterator_outlives_a_reconnect(connected, peer):
    connector = await connected(peer)
    iterator = connector.messages("a")
    reading = asyncio.ensure_future(anext(iterator))
    await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 1)
    peer.cut()
    await eventually(lambda: len(peer.of(wire.SUBSCRIBE)) == 2)
    peer.send(wire.publish("a", b'"again"'))
    assert (await asyncio.wait_for(reading, 20)).payload == "again"
    await iterator.aclose()

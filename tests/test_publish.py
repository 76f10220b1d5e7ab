"""What a publish call does with payloads, topics and connection states."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
import weakref
from types import SimpleNamespace

import pytest

import accounts
from cascade.connectors.mqtt import MqttConnector, PayloadError, TopicError
from fake_peer import FakePeer
from mosquitto import free_port
from waiting import eventually

PAYLOADS = [
    ({"a": 1, "b": [True, None, "é"]}, '{"a":1,"b":[true,null,"é"]}'.encode()),
    ({}, b"{}"),
    ([1, "two"], b'[1,"two"]'),
    ("plain text", b"plain text"),
    ("größer", "größer".encode()),
    (b"\x00\xff", b"\x00\xff"),
    (bytearray(b"ba"), b"ba"),
    (memoryview(b"mv"), b"mv"),
    ("", b""),
    (None, b""),
    (b"", b""),
    (7, b"7"),
    (2.5, b"2.5"),
    (True, b"true"),
    ({"x": float("nan")}, b'{"x":null}'),
]
BAD_TOPICS = ["", "a/+", "a/#", "#", "a\0b", "x" * 65_536, "\ud800", 7, None, b"bytes"]


@pytest.mark.parametrize("qos", [0, 1])
async def test_payloads_arrive_as_promised(connected, broker, new_observer, prefix, qos):
    observer = new_observer(broker, f"{prefix}/#")
    connector = await connected(broker)
    for number, (payload, _) in enumerate(PAYLOADS):
        await connector.publish(f"{prefix}/{number}", payload, qos=qos)
    await eventually(lambda: len(observer.seen) == len(PAYLOADS))
    assert observer.topics == [f"{prefix}/{number}" for number in range(len(PAYLOADS))]
    assert observer.payloads == [wanted for _, wanted in PAYLOADS]


async def test_retained_and_cleared(connected, broker, new_observer, prefix):
    connector = await connected(broker)
    await connector.publish_confirmed(f"{prefix}/kept", {"v": 1}, retain=True)
    assert connector.publish_nowait(f"{prefix}/kept0", "zero", retain=True)
    assert await connector.flush(5) == 0
    for topic, wanted in (("kept", b'{"v":1}'), ("kept0", b"zero")):
        late = new_observer(broker, f"{prefix}/{topic}")
        await eventually(lambda late=late: late.seen)
        assert [(message.payload, message.retain) for message in late.seen] == [(wanted, True)]
        await connector.publish_confirmed(f"{prefix}/{topic}", None, retain=True)
    later = new_observer(broker, f"{prefix}/#")
    await connector.publish_confirmed(f"{prefix}/mark", "now")
    await eventually(lambda: later.seen)
    assert later.topics == [f"{prefix}/mark"]


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("retain", [False, True])
async def test_flags_of_a_publish(connected, peer, qos, retain):
    connector = await connected(peer)
    await connector.publish("t", "x", qos=qos, retain=retain)
    await eventually(lambda: peer.published())
    (packet,) = peer.published()
    assert (packet.qos, packet.retain, packet.dup) == (qos, retain, False)


async def test_order_within_a_quality_of_service(connected, broker, new_observer, prefix):
    observer = new_observer(broker, f"{prefix}/#")
    connector = await connected(broker)
    for number in range(2_000):
        await connector.publish(f"{prefix}/{number % 2}", {"n": number}, qos=number % 2)
    await eventually(lambda: len(observer.seen) == 2_000)
    for qos in (0, 1):
        numbers = [message.json["n"] for message in observer.seen if message.topic.endswith(str(qos))]
        assert numbers == list(range(qos, 2_000, 2))


async def test_the_payload_is_taken_at_the_call(connected, peer):
    connector = await connected(peer)
    event, raw = {"n": 1}, bytearray(b"one")
    connector.publish_nowait("t", event)
    connector.publish_nowait("t", raw)
    event["n"], raw[:] = 2, b"two"
    await eventually(lambda: len(peer.published()) == 2)
    assert [packet.payload for packet in peer.published()] == [b'{"n":1}', b"one"]


async def test_the_publish_methods_look_the_same_before_and_after_connecting(new_connector, peer):
    connector = new_connector(peer)
    bare = repr(connector.publish), repr(connector.publish_nowait)
    await connector.connect()
    await connector.publish("t", "x")
    for method, known in (
        (connector.publish, MqttConnector.publish),
        (connector.publish_nowait, MqttConnector.publish_nowait),
    ):
        assert inspect.signature(method) == inspect.signature(known.__get__(connector))
        assert (method.__name__, method.__doc__, method.__self__) == (known.__name__, known.__doc__, connector)
    assert [text.split()[2] for text in bare] == ["MqttConnector.publish", "MqttConnector.publish_nowait"]
    assert repr(connector.publish).startswith("<bound method MqttConnector.publish of")
    for test in (asyncio.iscoroutinefunction, inspect.iscoroutinefunction):
        assert test(connector.publish)
        assert not test(connector.publish_nowait)
    assert weakref.ref(connector.publish_nowait) is not None


async def test_what_publish_returns_is_a_coroutine(connected, peer):
    connector = await connected(peer)
    loop = asyncio.get_running_loop()
    coroutine = connector.publish("t", 1)
    assert asyncio.iscoroutine(coroutine)
    assert inspect.isawaitable(coroutine)
    assert await coroutine is None
    assert await asyncio.create_task(connector.publish("t", 2)) is None
    assert await asyncio.gather(connector.publish("t", 3), connector.publish("t", 4)) == [None, None]
    assert await asyncio.wait_for(connector.publish("t", 5), 5) is None
    other_thread = asyncio.run_coroutine_threadsafe
    assert await asyncio.to_thread(lambda: other_thread(connector.publish("t", 6), loop).result(5)) is None
    await eventually(lambda: len(peer.published()) == 6)
    assert [packet.payload for packet in peer.published()] == [b"1", b"2", b"3", b"4", b"5", b"6"]
    cancelled = asyncio.create_task(connector.publish("t", 7))
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    unused = connector.publish("t", 8)
    with pytest.raises(KeyError, match="in"):
        unused.throw(KeyError("thrown in"))
    unused.close()


async def test_arguments_by_name_and_wrong_ones(connected, peer):
    connector = await connected(peer)
    # Names that were made at run time are other objects than those of the code.
    late = {"".join(["q", "os"]): 1, "".join(["ret", "ain"]): True}
    for publish in (connector.publish, connector.publish_nowait):
        for call in (
            lambda publish=publish: publish(topic="t", payload="x", qos=1, retain=True),
            lambda publish=publish: publish("t", "x", retain=True, qos=1),
            lambda publish=publish: publish("t", "x", 1, True),
            lambda publish=publish: publish("t", "x", **late),
            lambda publish=publish: publish.__call__("t", payload="x", qos=1, retain=True),
        ):
            assert await call() is None if publish == connector.publish else call() is True
        for wrong, why in (
            (lambda publish=publish: publish("t"), "missing 1 required positional argument: 'payload'"),
            (lambda publish=publish: publish(), "missing 2 required positional arguments"),
            (lambda publish=publish: publish("t", "x", 0, False, None), "takes from 3 to 5 positional arguments"),
            (lambda publish=publish: publish("t", "x", topic="u"), "multiple values for argument 'topic'"),
            (lambda publish=publish: publish("t", "x", qos=0, ack=True), "unexpected keyword argument 'ack'"),
        ):
            with pytest.raises(TypeError, match=why):
                wrong()
    await eventually(lambda: len(peer.published()) == 10)
    assert {(p.topic, p.payload, p.qos, p.retain) for p in peer.published()} == {("t", b"x", 1, True)}


async def test_methods_kept_from_before_connecting_publish_as_well(new_connector, peer):
    connector = new_connector(peer)
    publish, publish_nowait = connector.publish, connector.publish_nowait
    await connector.connect()
    await publish("t", "kept")
    assert publish_nowait("t", "kept too")
    await eventually(lambda: len(peer.published()) == 2)


def first_step_completes(connector: MqttConnector) -> None:
    for qos in (0, 1):
        for payload in ({"n": 1}, "text", object()):
            call = connector.publish("t", payload, qos=qos)
            with pytest.raises(StopIteration):
                call.send(None)


async def test_publish_completes_at_its_first_step(new_connector, peer):
    connector = new_connector(peer)
    first_step_completes(connector)  # never connected
    peer.connack = b""
    attempt = asyncio.create_task(connector.connect())
    await eventually(lambda: peer.connections)
    first_step_completes(connector)  # connecting
    peer.connack = b"\x00\x00"
    peer.cut()
    await attempt
    first_step_completes(connector)  # connected
    peer.freeze()
    first_step_completes(connector)  # the peer does not read
    peer.connack = b""
    peer.cut()
    await eventually(lambda: not connector.stats().connected)
    first_step_completes(connector)  # reconnecting
    await connector.disconnect(timeout=0.1)
    first_step_completes(connector)  # after disconnect
    accounts.check(connector.stats())


async def test_publish_with_a_full_queue_completes_at_its_first_step(connected, peer):
    connector = await connected(peer, max_queued_events=10)
    peer.freeze()
    for _ in range(500):
        connector.publish_nowait("t", b"x" * 100_000)
    first_step_completes(connector)
    accounts.check(connector.stats())


async def test_before_connect_it_is_counted_with_one_warning(new_connector, peer, caplog):
    connector = new_connector(peer)
    for _ in range(3):
        await connector.publish("t", "lost")
        assert connector.publish_nowait("t", "lost") is False
    stats = accounts.check(connector.stats())
    assert stats.rejected == {"not_connected": 6}
    assert len(_warnings(caplog)) == 1
    await connector.connect()
    await connector.publish("t", "kept", qos=1)
    await eventually(lambda: peer.published())
    assert [packet.payload for packet in peer.published()] == [b"kept"]


async def test_after_disconnect_it_is_counted_with_one_warning(connected, peer, caplog):
    connector = await connected(peer)
    await connector.disconnect()
    for _ in range(3):
        await connector.publish("t", "lost")
        assert connector.publish_nowait("t", "lost") is False
    stats = accounts.check(connector.stats())
    assert sum(stats.rejected.values()) == 6
    assert set(stats.rejected) <= {"closed", "not_connected"}
    assert len(_warnings(caplog)) == 1


async def test_invalid_topics_are_counted_and_harm_nothing(connected, peer, caplog):
    connector = await connected(peer)
    for topic in BAD_TOPICS:
        assert connector.publish_nowait(topic, "x") is False
        await connector.publish(topic, "x", qos=1)
    stats = accounts.check(connector.stats())
    assert stats.rejected == {"invalid_topic": 2 * len(BAD_TOPICS)}
    assert 1 <= len(_warnings(caplog)) <= 2
    await _still_works(connector, peer)


async def test_invalid_qos_is_counted(connected, peer):
    connector = await connected(peer)
    for qos in (-1, 3, 255, 256):
        assert connector.publish_nowait("t", "x", qos=qos) is False
    assert accounts.check(connector.stats()).rejected == {"invalid_qos": 4}
    await _still_works(connector, peer)


def _self_referencing() -> dict[str, object]:
    loop: dict[str, object] = {}
    loop["again"] = [loop]
    return loop


def _deep(levels: int) -> list[object]:
    nested: list[object] = []
    for _ in range(levels):
        nested = [nested]
    return nested


UNSERIALISABLE = {
    "object": object(),
    "inside": {"a": [object()]},
    "tuple key": {(1, 2): 3},
    "itself": _self_referencing(),
    "deep": _deep(1_000),
    "very deep": _deep(100_000),
    "long int": 10**5_000,
    "set": {"a": {1, 2}},
    "function": len,
    "namespace": SimpleNamespace(a=1),
}


async def test_unserialisable_payloads_are_counted_and_harm_nothing(connected, peer, caplog):
    connector = await connected(peer)
    for payload in UNSERIALISABLE.values():
        assert connector.publish_nowait("t", payload) is False
        await connector.publish("t", payload, qos=1)
    stats = accounts.check(connector.stats())
    assert stats.rejected == {"unserialisable": 2 * len(UNSERIALISABLE)}
    assert 1 <= len(_warnings(caplog)) <= 2
    await _still_works(connector, peer)


async def test_a_hook_that_raises_is_an_unserialisable_payload(connected, peer):
    def hook(value: object) -> object:
        raise LookupError("hook")

    connector = await connected(peer, default=hook)
    assert connector.publish_nowait("t", {"a": object()}) is False
    assert accounts.check(connector.stats()).rejected == {"unserialisable": 1}
    await _still_works(connector, peer)


async def test_a_hook_may_publish(connected, peer):
    def hook(value: object) -> object:
        assert connector.publish_nowait("inner", {"from": "hook"}, qos=1)
        return "hooked"

    connector = await connected(peer, default=hook)
    assert connector.publish_nowait("outer", {"a": object()}, qos=1)
    await eventually(lambda: len(peer.published()) == 2)
    assert {packet.topic: packet.payload for packet in peer.published()} == {
        "inner": b'{"from":"hook"}',
        "outer": b'{"a":"hooked"}',
    }


@pytest.mark.parametrize("kind", ["bytes", "str", "dict"])
async def test_300_mb_are_too_large(connected, peer, kind):
    size = 300_000_000
    payload = {"bytes": bytes, "str": lambda n: "x" * n, "dict": lambda n: {"x": "x" * n}}[kind](size)
    connector = await connected(peer)
    assert connector.publish_nowait("t", payload) is False
    await connector.publish("t", payload, qos=1)
    stats = accounts.check(connector.stats())
    assert stats.rejected == {"too_large": 2}
    assert stats.queued_bytes < 10_000_000
    await _still_works(connector, peer)


async def test_max_message_bytes(connected, peer):
    connector = await connected(peer, max_message_bytes=10_000)
    assert connector.publish_nowait("t", b"x" * 9_000, qos=1)
    assert not connector.publish_nowait("t", b"x" * 10_001, qos=1)
    assert not connector.publish_nowait("t", {"n": list(range(10_000))}, qos=1)
    await eventually(lambda: connector.stats().acknowledged == 1)
    assert accounts.check(connector.stats()).rejected == {"too_large": 2}


async def test_strict_raises_for_payload_and_topic(connected, peer):
    connector = await connected(peer, strict=True)
    with pytest.raises(PayloadError):
        connector.publish_nowait("t", object())
    with pytest.raises(PayloadError):
        await connector.publish("t", _self_referencing())
    with pytest.raises(PayloadError):
        await connector.publish("t", bytes(2_000_000))
    with pytest.raises(TopicError):
        await connector.publish("a/#", "x")
    with pytest.raises(TopicError):
        connector.publish_nowait("", "x")
    stats = accounts.check(connector.stats())
    assert stats.rejected == {"unserialisable": 2, "too_large": 1, "invalid_topic": 2}
    await _still_works(connector, peer)


async def test_strict_does_not_raise_for_the_network(new_connector, peer):
    connector = new_connector(peer, strict=True)
    await connector.publish("t", "x")
    assert connector.publish_nowait("t", "x") is False


async def test_from_many_threads_at_once(connected, broker, new_observer, prefix):
    observer = new_observer(broker, f"{prefix}/#")
    connector = await connected(broker)

    def produce(name: int) -> None:
        for number in range(500):
            assert connector.publish_nowait(f"{prefix}/{name}", {"n": number}, qos=1)

    threads = [threading.Thread(target=produce, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    await eventually(lambda: len(observer.seen) == 2_000)
    for name in range(4):
        numbers = [message.json["n"] for message in observer.seen if message.topic == f"{prefix}/{name}"]
        assert numbers == list(range(500))


async def test_payloads_are_not_kept(connected, peer):
    connector = await connected(peer)
    event = {"text": f"a string of this test alone {id(peer)}"}
    before = sys.getrefcount(event), sys.getrefcount(event["text"])
    for _ in range(100):
        connector.publish_nowait("t", event)
    await eventually(lambda: connector.stats().written == 100)
    after = sys.getrefcount(event), sys.getrefcount(event["text"])
    # An encoder may hold a few values that it expects again, not one for each message.
    assert all(now - was < 20 for was, now in zip(before, after, strict=True))


async def test_events_queue_from_the_call_of_connect(backend):
    port = free_port()
    connector = MqttConnector("127.0.0.1", port, backend=backend, connect_timeout=20, reconnect_max_delay=0.1)
    attempt = asyncio.create_task(connector.connect())
    await asyncio.sleep(0)
    assert connector.publish_nowait("t", "early", qos=1)
    with FakePeer(port) as peer:
        await attempt
        await eventually(lambda: [packet.payload for packet in peer.published()] == [b"early"])
        await connector.disconnect()


async def _still_works(connector: MqttConnector, peer: FakePeer) -> None:
    await connector.publish("still", "works", qos=1)
    await eventually(lambda: [packet.payload for packet in peer.published() if packet.topic == "still"] == [b"works"])
    assert peer.connections == 1


def _warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]

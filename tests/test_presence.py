"""What others learn when a connector comes, goes, and vanishes."""

from __future__ import annotations

import wire
from waiting import eventually, settled


async def test_by_default_only_a_will(connected, peer, prefix):
    connector = await connected(peer, source_id=prefix)
    await connector.disconnect()
    (packet,) = peer.of(wire.CONNECT)
    topic = f"cascade/status/{prefix}".encode()
    assert packet.body[7] & 0b0011_1100 == 0b0000_0100  # a will, QoS 0, not retained
    assert topic in packet.body
    assert packet.body.endswith(b'{"status": "offline"}')
    assert peer.published() == []


async def test_the_will_is_sent_when_a_connection_breaks(connected, mosquitto_broker, new_observer, new_proxy, prefix):
    observer = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    proxy = new_proxy(mosquitto_broker)
    connector = await connected(proxy, source_id=prefix)
    proxy.cut()
    await eventually(lambda: observer.payloads == [b'{"status": "offline"}'])
    assert connector.stats().submitted == 0


async def test_source_id_is_made_safe_for_a_topic(connected, peer):
    await connected(peer, source_id="a/b+c#d")
    assert b"cascade/status/a%2Fb%2Bc%23d" in peer.of(wire.CONNECT)[0].body


async def test_source_id_from_the_environment(connected, peer, monkeypatch):
    monkeypatch.setenv("CASCADE_SOURCE_ID", "from-the-environment")
    await connected(peer)
    assert b"cascade/status/from-the-environment" in peer.of(wire.CONNECT)[0].body


async def test_presence_is_retained_while_it_lasts(connected, mosquitto_broker, new_observer, prefix):
    topic = f"cascade/status/{prefix}"
    connector = await connected(mosquitto_broker, source_id=prefix, presence=True)
    assert await connector.flush(5) == 0
    late = new_observer(mosquitto_broker, topic)
    await eventually(lambda: late.seen)
    birth = late.seen[0]
    assert birth.retain
    assert birth.json["status"] == "online"
    assert {"since", "seq"} <= set(birth.json)
    await connector.disconnect()
    await eventually(lambda: len(late.seen) >= 2)
    assert late.seen[1].json == {"status": "offline"}
    after = new_observer(mosquitto_broker, topic)
    assert await settled(lambda: len(after.seen)) == 0


async def test_presence_is_told_again_after_an_outage(connected, mosquitto_broker, new_observer, new_proxy, prefix):
    observer = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    proxy = new_proxy(mosquitto_broker)
    await connected(proxy, source_id=prefix, presence=True)
    await eventually(lambda: len(observer.seen) == 1)
    proxy.cut()
    await eventually(lambda: [message.json["status"] for message in observer.seen] == ["online", "offline", "online"])
    births = [message.json for message in observer.seen if message.json["status"] == "online"]
    assert births[1]["seq"] > births[0]["seq"]


async def test_the_retained_will_says_since_when_the_process_was_there(
    connected, mosquitto_broker, new_observer, new_proxy, prefix
):
    proxy = new_proxy(mosquitto_broker)
    await connected(proxy, source_id=prefix, presence=True)
    live = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    await eventually(lambda: live.seen)
    proxy.closing = True
    proxy.cut()
    await eventually(lambda: len(live.seen) == 2)
    late = new_observer(mosquitto_broker, f"cascade/status/{prefix}")
    await eventually(lambda: late.seen)
    assert late.seen[0].retain
    assert late.seen[0].json == {"status": "offline", "since": live.seen[0].json["since"]}
    late.publish(f"cascade/status/{prefix}", b"", retain=True)

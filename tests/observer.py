"""An independent witness: paho on a thread of its own, with nothing of ours in the way."""

from __future__ import annotations

import json
import threading
from typing import Any, NamedTuple

import paho.mqtt.client as paho


class Seen(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Observer:
    """Records what arrives under a filter, and publishes what a test wants to arrive at ours."""

    def __init__(
        self,
        host: str,
        port: int,
        topic_filter: str = "",
        *,
        qos: int = 1,
        session: str = "",
        login: tuple[str, str] | None = None,
    ) -> None:
        self.seen: list[Seen] = []
        self._ready = threading.Event()
        self._client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=session, clean_session=not session, protocol=paho.MQTTv311
        )
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.max_queued_messages_set(0)
        self._client.max_inflight_messages_set(1_000)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_connect = lambda *_: (
            self._client.subscribe(topic_filter, qos) if topic_filter else self._ready.set()
        )
        self._client.connect(host, port)
        self._client.loop_start()
        assert self._ready.wait(10), "the observer could not subscribe"

    @property
    def topics(self) -> list[str]:
        return [message.topic for message in self.seen]

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.seen]

    def publish(self, topic: str, payload: str | bytes = b"", *, qos: int = 1, retain: bool = False) -> None:
        """Returns when the broker has it."""
        self._client.publish(topic, payload, qos, retain).wait_for_publish(10)

    def publish_soon(self, topic: str, payload: str | bytes = b"", *, qos: int = 0) -> None:
        self._client.publish(topic, payload, qos)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        self.seen.append(Seen(message.topic, message.payload, message.qos, message.retain))

"""A broker of MQTT 3.1.1 or 5 that says one thing of the corpus, some times, and behaves for the rest."""

from __future__ import annotations

import contextlib
import time

from corpus.entry import ID, Entry, Protocol, publish

import wire
from fake_peer import FakePeer
from wire import Packet

_TRIGGERS = {
    "first": wire.CONNECT,
    "behind": wire.CONNECT,
    "suback": wire.SUBSCRIBE,
    "unsuback": wire.UNSUBSCRIBE,
    "puback": wire.PUBLISH,
    "pubrec": wire.PUBLISH,
    "pubcomp": wire.PUBREL,
    # The PINGREQ that follows SUBSCRIBE.
    "idle": wire.PINGREQ,
}
LEAK = "leak"
"""The topic of the message behind bytes that end a connection: nothing behind them may be read."""


def nothing(protocol: Protocol) -> Entry:
    """For a broker that says nothing hostile by itself."""
    return Entry(name="nothing", protocol=protocol, data=b"", when="idle", section="", outcome="ignore", says="")


class HostilePeer(FakePeer):
    """Says ``entry.data`` so many times: on as many connections, where it ends them."""

    def __init__(self, entry: Entry, times: int) -> None:
        self.entry, self.left = entry, times
        self.attacked_at: list[float] = []
        self.connects_at: list[float] = []
        self.wanted = entry.answer
        """What has to come back."""
        super().__init__()

    @property
    def is_through(self) -> bool:
        return self.left == 0

    def message(self, topic: str, payload: bytes) -> bytes:
        """A good PUBLISH at QoS 0."""
        return publish(topic, payload)[self.entry.protocol]

    def answer(self, packet: Packet) -> bytes:
        entry = self.entry
        if packet.kind == wire.CONNECT:
            self.connects_at.append(time.monotonic())
        good = self._behave(packet)
        if not self.left or packet.kind != _TRIGGERS[entry.when]:
            return good
        self.left -= 1
        self.attacked_at.append(time.monotonic())
        bad = entry.data
        if ID in bad:
            identifier = packet.packet_id.to_bytes(2, "big")
            bad, self.wanted = bad.replace(ID, identifier), self.wanted.replace(ID, identifier)
        if entry.cut:
            # What is not read by then is destroyed with the connection, and the bytes are to be read.
            self.send((b"" if entry.when == "first" else good) + bad)
            self._end_politely()
            return b""
        if entry.outcome == "close" and not entry.reads_on:
            bad += self.message(LEAK, b'"behind"')
        if entry.when == "first":
            return bad
        if entry.when in ("behind", "idle"):
            return good + bad
        return bad if entry.outcome == "close" else bad + good

    def _end_politely(self) -> None:
        for client in self._clients():
            with contextlib.suppress(OSError):
                client.shutdown(1)

    def _behave(self, packet: Packet) -> bytes:
        if self.entry.protocol == "3.1.1":
            return super().answer(packet)
        match packet.kind:
            case wire.CONNECT:
                return wire.encode(wire.CONNACK, 0, b"\0\0\0")
            case wire.SUBSCRIBE:
                return wire.acknowledge(wire.SUBACK, packet.packet_id, b"\0\1")
            case wire.UNSUBSCRIBE:
                return wire.acknowledge(wire.UNSUBACK, packet.packet_id, b"\0\0")
            case _:
                return super().answer(packet)

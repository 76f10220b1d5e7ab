"""What a broker that does not acknowledge can make a process hold: no more than the caps and a tenth."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import wire
from listener import Listener

CAP = 16 * 1024 * 1024
EVENTS = {"native": 1_000_000, "python": 200_000}
"""The fallback is slower; three rounds of all its packet identifiers show the same."""
TOPIC, PAYLOAD_BYTES = "events", 300
WARM_UP = 5_000
"""Events before memory is looked at; they are acknowledged."""

BEGIN = f"""
import json, os, sys, time
from cascade.connectors.mqtt import MqttConnector

backend, port, events = sys.argv[1], *map(int, sys.argv[2:])
connector = MqttConnector("127.0.0.1", port, backend=backend, max_queued_bytes={CAP}, max_inflight_messages=60_000)
most = 0

def publish():
    return connector.publish_nowait("{TOPIC}", "." * {PAYLOAD_BYTES}, qos=1)

def look():
    global most
    stats = connector.stats()
    most = max(most, stats.queued_bytes)
    return stats

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def report():
    stats = look()
    print(json.dumps(dict(grown=resident() - before, most=most, held=stats.queued_bytes, in_flight=stats.in_flight,
        queued=stats.queued_events, acknowledged=stats.acknowledged)), flush=True)

connector.open(30)
for number in range({WARM_UP}):
    publish()
while look().in_flight or look().queued_events:
    time.sleep(0.001)
before, most = resident(), 0
"""

ONE_AT_A_TIME = """
full = False
for number in range(events):
    publish()
    # Each is written by itself, as long as there is room for it in flight: that is half of the cap.
    until = time.monotonic() + 0.5
    while not full and look().in_flight <= number:
        time.sleep(0.0001)
        full = time.monotonic() > until
report()
"""

ONE_LEFT = """
for number in range(events):
    publish()
    while number % 500 == 0 and look().queued_events > 5_000:
        time.sleep(0.001)
while (stats := look()).in_flight + stats.queued_events > 1:
    time.sleep(0.01)
report()
while look().in_flight:
    time.sleep(0.01)
report()
"""


class Reader:
    """A peer that reads PUBLISHes of one size, fast.

    Args:
        acknowledges: whether it answers those behind the warm-up, except for the first of them.
    """

    def __init__(self, *, acknowledges: bool) -> None:
        self.received = 0
        self.first = b""
        """The packet identifier that is not answered."""
        self.reused = 0
        self._acknowledges = acknowledges
        self._client: socket.socket | None = None
        self.listener = Listener(self._serve)

    def acknowledge_the_first(self) -> None:
        assert self._client is not None
        self._client.sendall(b"\x40\x02" + self.first)

    def _serve(self, client: socket.socket) -> None:
        self._client = client
        client.recv(65_536)
        client.sendall(wire.encode(wire.CONNACK, 0, b"\x00\x00"))
        frame = len(wire.publish(TOPIC, b"." * PAYLOAD_BYTES, qos=1))
        buffer = bytearray()
        while data := client.recv(262_144):
            buffer += data
            whole = len(buffer) // frame * frame
            at = range(frame - PAYLOAD_BYTES - 2, whole, frame)
            answered = self._answered([bytes(buffer[place : place + 2]) for place in at])
            client.sendall(b"".join(b"\x40\x02" + identifier for identifier in answered))
            del buffer[:whole]

    def _answered(self, identifiers: list[bytes]) -> list[bytes]:
        rest = max(0, WARM_UP - self.received)
        self.received += len(identifiers)
        answered, behind = identifiers[:rest], identifiers[rest:]
        if behind and not self.first:
            self.first = behind.pop(0)
        self.reused += behind.count(self.first)
        return answered + behind if self._acknowledges else answered


@contextmanager
def reports(reader: Reader, program: str, backend: str, events: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """What the program reports, one call after another."""
    command = [sys.executable, "-c", BEGIN + program, backend, str(reader.listener.port), str(events)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout
        try:
            yield lambda: json.loads(output.readline())
        finally:
            process.kill()
            reader.listener.close()


def test_frames_written_one_at_a_time_and_never_acknowledged(backend):
    """30 s of one in 0.5 ms: each was the only one in its buffer, and must not hold a buffer each."""
    reader = Reader(acknowledges=False)
    with reports(reader, ONE_AT_A_TIME, backend, 60_000) as report:
        final = report()
    assert reader.received - WARM_UP >= final["in_flight"] > 10_000
    assert final["most"] <= CAP
    assert final["grown"] <= 1.1 * CAP


def test_one_that_is_never_acknowledged_while_all_others_are(backend):
    """It holds its own few bytes, and its identifier, which nothing else is given meanwhile."""
    reader = Reader(acknowledges=True)
    with reports(reader, ONE_LEFT, backend, EVENTS[backend]) as report:
        left = report()
        assert (left["in_flight"], left["queued"]) == (1, 0)
        assert left["most"] <= CAP
        assert left["grown"] <= 1.1 * CAP
        assert left["held"] < 64 * 1024
        assert (reader.received, reader.reused) == (WARM_UP + EVENTS[backend], 0)
        reader.acknowledge_the_first()
        assert report()["acknowledged"] == WARM_UP + EVENTS[backend]

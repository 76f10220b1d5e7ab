"""Threads, hooks, signals' handlers and finalizers that publish at once."""

from __future__ import annotations

import os
import threading
from collections import Counter

import pytest

import accounts
import wire
from cascade.connectors.mqtt import ConnectError, MqttConnector
from waiting import eventually_blocking


@pytest.mark.parametrize("switch_interval", [0.005, 1e-6], ids=["usual", "frantic"])
def test_four_threads_and_hooks_that_publish(run_program, peer, switch_interval):
    events = 400
    (said,) = run_program("threads", peer, events=events, switch_interval=switch_interval).said
    hooked = 4 * (events // 4)
    assert said == {"left": 0, "odd": [], "accepted": 4 * events + hooked}
    eventually_blocking(lambda: len(peer.published()) == 4 * events + hooked)
    assert Counter(packet.topic for packet in peer.published())["hook"] == hooked
    for which in range(4):
        for qos in (0, 1):
            numbers = [
                int(packet.payload.split(b":")[1].split(b",")[0])
                for packet in peer.published(qos=qos)
                if packet.topic == f"thread/{which}"
            ]
            assert numbers == list(range(qos, events, 2)), "each thread's events keep their order at each QoS"


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_handlers_and_finalizers_that_publish(run_program, peer):
    """They may come in the middle of a publish, of the first one also, and of any other call."""
    (said,) = run_program("handlers", peer).said
    counts = said["counts"]
    assert said["left"] == 0
    assert said["submitted"] == sum(counts.values())
    assert said["acknowledged"] == sum(counts.values()) - counts["refused"], said["stats"]
    eventually_blocking(lambda: len(peer.published()) == said["acknowledged"])


def test_opening_and_closing_from_two_threads(backend, peer):
    """Whoever comes first: the others wait for the same attempt, or find it closed; nothing hangs."""
    connector = MqttConnector(peer.host, peer.port, backend=backend)
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def work(which: int) -> None:
        for _ in range(15):
            start.wait(60)
            try:
                if which < 3:
                    connector.open(20)
                    connector.publish_nowait("t", str(which), qos=1)
                if which > 1:
                    connector.close(20)
            except ConnectError:
                pass  # Closed by another one meanwhile.
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not [thread for thread in threads if thread.is_alive()]
    assert errors == []
    connector.open(20)
    assert connector.publish_nowait("t", "last", qos=1)
    assert connector.flush(20) == 0
    connector.close(20)
    accounts.check(connector.stats())
    eventually_blocking(lambda: peer.open_connections == 0)
    assert peer.published()[-1].payload == b"last"


def test_two_threads_open_at_once(backend, peer):
    """One attempt, and one connection, for both."""
    for _ in range(20):
        connector = MqttConnector(peer.host, peer.port, backend=backend)
        before, start, opened = peer.connections, threading.Barrier(2), []

        def work(connector=connector, start=start, opened=opened) -> None:
            start.wait(20)
            connector.open(20)
            opened.append(connector.stats().connected)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert opened == [True, True]
        assert peer.connections == before + 1
        connector.close(5)


def test_publishing_while_another_thread_closes(backend, peer):
    """Each call is accepted or refused, and what was accepted is accounted for."""
    connector = MqttConnector(peer.host, peer.port, backend=backend)
    connector.open(20)
    results: list[bool] = []

    def publish() -> None:
        # Until it is refused: closed meanwhile.
        while not results or results[-1]:
            results.append(connector.publish_nowait("t", "x", qos=1))

    thread = threading.Thread(target=publish)
    thread.start()
    eventually_blocking(lambda: len(results) > 100)
    connector.close(20)
    thread.join(20)
    stats = accounts.check(connector.stats())
    assert stats.submitted == len(results)
    assert stats.accepted == sum(results) == stats.acknowledged + sum(stats.dropped.values())
    assert len(peer.of(wire.DISCONNECT)) == 1

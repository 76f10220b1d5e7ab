"""The embedded broker: free ports, large messages, a clean end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cascade.connectors.mqtt.broker import EmbeddedBroker
from mosquitto import free_port
from observer import Observer
from waiting import eventually_blocking


def test_each_takes_a_free_port_of_this_machine():
    with EmbeddedBroker() as one, EmbeddedBroker() as other:
        assert one.host == other.host == "127.0.0.1"
        assert one.port != other.port


def test_the_port_asked_for_is_released_in_the_end():
    port = free_port()
    for _ in range(2):
        with EmbeddedBroker(port=port) as broker:
            assert broker.port == port
            assert broker.running
        assert not broker.running


def test_start_and_stop_may_be_repeated():
    broker = EmbeddedBroker().start()
    port = broker.port
    assert broker.start().port == port
    broker.stop()
    broker.stop()
    with pytest.raises(RuntimeError, match="start"):
        _ = broker.port


def test_a_port_in_use_is_an_error_that_names_it():
    with EmbeddedBroker() as broker, pytest.raises(OSError, match=str(broker.port)):
        EmbeddedBroker(port=broker.port).start()


def test_an_address_that_is_not_ours_is_an_error():
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        EmbeddedBroker("192.0.2.1").start()


def test_large_messages_pass(embedded_broker, prefix, new_observer):
    payload = b"x" * (17 * 1024 * 1024)
    observer: Observer = new_observer(embedded_broker, prefix)
    observer.publish(prefix, payload)
    eventually_blocking(lambda: observer.payloads == [payload])


def test_nothing_is_lost_on_a_subscriber_that_reads_late(embedded_broker, prefix, new_observer):
    late: Observer = new_observer(embedded_broker, prefix, session=prefix)
    late.close()  # its session stays
    writer: Observer = new_observer(embedded_broker)
    for number in range(5_000):
        writer.publish_soon(prefix, str(number), qos=1)
    again: Observer = new_observer(embedded_broker, prefix, session=prefix)
    eventually_blocking(lambda: len(again.seen) >= 5_000)
    assert [int(payload) for payload in again.payloads] == list(range(5_000))


def test_without_iotcore_the_error_names_the_extra():
    code = (
        "import sys; sys.modules['iotcore'] = None\n"
        "from cascade.connectors.mqtt.broker import BrokerUnavailable, EmbeddedBroker\n"
        "try: EmbeddedBroker().start()\n"
        "except BrokerUnavailable as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "pip install 'cascade-connector-mqtt[broker]'" in said

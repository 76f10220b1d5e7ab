"""The fallback's packet identifiers over connections and sessions, where no broker can be made to show them."""

from __future__ import annotations

import pytest

from cascade.connectors.mqtt.backends.fallback.identifiers import Identifiers
from cascade.connectors.mqtt.backends.fallback.lane import Message


def message(qos: int = 2) -> Message:
    return Message(b"t", b"x", qos, False, False)


def reconnect(identifiers: Identifiers, *, session_present: bool = True) -> list[int]:
    identifiers.connection_lost()
    return identifiers.connection_made(session_present=session_present)[0]


@pytest.mark.parametrize("qos", [1, 2])
def test_a_session_may_acknowledge_what_was_not_sent_again_yet(qos):
    identifiers, sent = Identifiers(), message(qos)
    assert not identifiers.give(sent)
    reconnect(identifiers)
    assert identifiers.qos_of(sent.packet_id) == qos
    if qos == 1:
        assert identifiers.puback(sent.packet_id) is sent
    else:
        assert identifiers.pubrec(sent.packet_id, refused=False) is sent
        assert reconnect(identifiers) == [sent.packet_id]
        assert identifiers.pubcomp(sent.packet_id) is sent
    assert identifiers.qos_of(sent.packet_id) is None
    assert (identifiers.in_use, identifiers.in_use_at_qos_2) == (0, 0)


def test_an_identifier_of_a_lost_session_is_nobodys():
    """One message was sent in a session that is lost, and waits; another has got the same identifier since."""
    identifiers, waiting = Identifiers(59_999), message()
    identifiers.give(waiting)
    reconnect(identifiers, session_present=False)
    others = [message() for _ in range(60_000)]
    for other in others:
        identifiers.give(other)
    reconnect(identifiers)
    [same] = [other for other in others if other.packet_id == waiting.packet_id]
    identifiers.puback(others[0].packet_id)
    assert not identifiers.give(waiting)
    assert waiting.packet_id != same.packet_id
    assert identifiers.give(same)


def test_what_is_given_up_keeps_its_identifier_until_pubcomp_or_a_new_session():
    identifiers, given_up = Identifiers(), [message(), message(1), message()]
    for sent in given_up:
        identifiers.give(sent)
    identifiers.pubrec(given_up[2].packet_id, refused=False)
    identifiers.give_up_all()
    assert identifiers.in_use == 0
    assert sorted(reconnect(identifiers)) == [given_up[0].packet_id, given_up[2].packet_id]
    assert identifiers.pubcomp(given_up[0].packet_id) is None
    assert reconnect(identifiers) == [given_up[2].packet_id]
    assert reconnect(identifiers, session_present=False) == []
    assert reconnect(identifiers) == []


def test_publishes_and_subscribes_never_meet():
    identifiers = Identifiers()
    publishes = {identifiers.give(sent) or sent.packet_id for sent in (message(1) for _ in range(60_000))}
    control = {identifiers.new_for_control() for _ in range(10_000)}
    assert len(publishes) == 60_000
    assert not publishes & control
    assert publishes | control == set(range(1, 65_536))

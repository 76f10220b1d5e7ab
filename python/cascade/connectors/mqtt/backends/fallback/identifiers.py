"""Packet identifiers of QoS 1 and 2: who has which, over connections and over sessions (MQTT 3.1.1 section 2.3.1)."""

from __future__ import annotations

from .lane import Message

__all__ = ["Identifiers"]

_LAST = 65_535
_LAST_OF_PUBLISHES = 60_000
"""SUBSCRIBE and UNSUBSCRIBE take those above, so that the two never meet."""


class Identifiers:
    """What has an identifier now, and what may have one in the session that the broker keeps.

    Args:
        last: where counting begins: a session may remember those of an earlier process, so that one that
            keeps its session had better begin anywhere.
    """

    def __init__(self, last: int = 0) -> None:
        self._last, self._last_control = last % _LAST_OF_PUBLISHES, _LAST_OF_PUBLISHES
        # Sent on this connection: PUBACK or PUBREC will come.
        self._sent: dict[int, Message] = {}
        self._sent_at_qos_2 = 0
        # Sent on a former one, and not again yet.
        self._unresent: dict[int, Message] = {}
        # PUBCOMP will come; in the order of the PUBRECs.
        self._released: dict[int, Message] = {}
        # Of QoS 2 messages that were given up: a session may hold them, and take a new message for a repetition.
        self._open: dict[int, None] = {}

    @property
    def in_use(self) -> int:
        """Messages that count against the window: sent, and without PUBACK or PUBCOMP."""
        return len(self._sent) + len(self._released)

    @property
    def in_use_at_qos_2(self) -> int:
        return len(self._released) + self._sent_at_qos_2

    @property
    def most(self) -> int:
        """How many can be in use at once."""
        return _LAST_OF_PUBLISHES - len(self._open)

    def new_for_control(self) -> int:
        """For SUBSCRIBE and UNSUBSCRIBE."""
        self._last_control = self._last_control + 1 if self._last_control < _LAST else _LAST_OF_PUBLISHES + 1
        return self._last_control

    def give(self, message: Message) -> bool:
        """An identifier for a message that is sent now; True: it was sent under the same in this session.

        Then it goes with DUP (MQTT 3.1.1 sections 3.3.1.1 and 4.4).
        """
        again = self._unresent.get(message.packet_id) is message
        if again:
            del self._unresent[message.packet_id]
        else:
            message.packet_id = self._new()
        self._sent[message.packet_id] = message
        self._sent_at_qos_2 += message.qos == 2
        return again

    def qos_of(self, packet_id: int) -> int | None:
        """Of the message in flight that has this identifier; None where there is none."""
        message = self._sent.get(packet_id) or self._released.get(packet_id) or self._unresent.get(packet_id)
        return None if message is None else message.qos

    def puback(self, packet_id: int) -> Message | None:
        """The QoS 1 message that is acknowledged; None for what is not known.

        It may be one that the session has remembered, and that was to be sent again.
        """
        return self._sent.pop(packet_id, None) or self._unresent.pop(packet_id, None)

    def pubrec(self, packet_id: int, *, refused: bool) -> Message | None:
        """The QoS 2 message that the broker has, or has refused; None for what is not known."""
        message = self._sent.pop(packet_id, None)
        if message is not None:
            self._sent_at_qos_2 -= 1
        else:
            message = self._unresent.pop(packet_id, None)
        if message is not None and not refused:
            self._released[packet_id] = message
        return message

    def pubcomp(self, packet_id: int) -> Message | None:
        """The QoS 2 message that is complete; None for what is not known, or was given up."""
        self._open.pop(packet_id, None)
        return self._released.pop(packet_id, None)

    def connection_lost(self) -> None:
        self._unresent.update(self._sent)
        self._sent.clear()
        self._sent_at_qos_2 = 0

    def connection_made(self, *, session_present: bool) -> tuple[list[int], list[Message]]:
        """What a session has remembered: identifiers to send PUBREL for again, and messages whose fate is uncertain."""
        if session_present:
            return [*self._released, *self._open], []
        uncertain = list(self._released.values())
        for known in (self._unresent, self._released, self._open):
            known.clear()
        return [], uncertain

    def give_up(self, message: Message) -> None:
        """A message that was sent on a former connection, and will not be again."""
        if self._unresent.get(message.packet_id) is not message:
            return
        del self._unresent[message.packet_id]
        if message.qos == 2:
            self._open[message.packet_id] = None

    def give_up_all(self) -> None:
        """All messages are accounted for; what a session may remember of them is not forgotten."""
        self.connection_lost()
        for message in list(self._unresent.values()):
            self.give_up(message)
        self._open |= dict.fromkeys(self._released)
        self._released.clear()

    def _new(self) -> int:
        number = self._last % _LAST_OF_PUBLISHES + 1
        while number in self._sent or number in self._unresent or number in self._released or number in self._open:
            number = number % _LAST_OF_PUBLISHES + 1
        self._last = number
        return number
